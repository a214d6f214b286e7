"""Events of a stream that are no piece of its answer: those with words say why it ended, if nothing else ended it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.error_body import find_error
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion
from tests.workers.backends.assembled import assemble_events

HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def _outcome(*events: Any, name: str = "") -> Completion | Failure:
    head = f"event: {name}\n".encode() if name else b""
    stream = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events[:-1])
    stream += head + b"data: %b\n\ndata: [DONE]\n\n" % orjson.dumps(events[-1])
    return assemble_events(stream, SseFraming(), CompletionAssembler())


@pytest.mark.parametrize(
    ("event", "means"),
    [
        ({"detail": "Internal server error"}, E.MALFORMED),
        ({"detail": [{"loc": ["body"], "msg": "the engine stopped"}]}, E.MALFORMED),
        ({"code": 500, "msg": "system error"}, E.OVERLOADED),
        ({"statusCode": 429, "message": "slow down"}, E.RATE_LIMITED),
        ({"error_code": 336100, "error_msg": "server busy"}, E.OVERLOADED),
        ({"status": "error", "message": "the engine stopped"}, E.MALFORMED),
        ({"success": False, "code": 50505, "message": "Model service overloaded."}, E.OVERLOADED),
        ({"type": "error", "message": "Overloaded"}, E.OVERLOADED),
    ],
)
def test_words_in_place_of_the_rest_of_an_answer_are_its_failure(event: dict[str, Any], means: E) -> None:
    outcome = _outcome(HELLO, event)
    assert isinstance(outcome, Failure), outcome
    assert outcome.error_class is means


@pytest.mark.parametrize("events", [(), (HELLO,)])
@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("throttlingException", E.RATE_LIMITED),
        ("internalServerException", E.OVERLOADED),
        ("modelStreamErrorException", E.OVERLOADED),
        ("serviceUnavailableException", E.OVERLOADED),
        ("modelTimeoutException", E.TIMEOUT),
        ("validationException", E.BAD_REQUEST),
        ("accessDeniedException", E.FORBIDDEN),
    ],
)
def test_an_error_of_bedrock_is_named_by_its_key(name: str, means: E, events: tuple[dict[str, Any], ...]) -> None:
    for value in ({"message": "Something went wrong.", "originalStatusCode": 500}, "Something went wrong."):
        outcome = _outcome(*events, {name: value})
        assert isinstance(outcome, Failure)
        assert outcome.error_class is means
        assert "Something went wrong." in outcome.detail


def test_an_empty_exception_beside_an_answer_is_no_error() -> None:
    assert isinstance(_outcome(HELLO, {**END, "lastException": "retried once"}), Completion)
    assert isinstance(_outcome({"throttlingException": None}, HELLO, END), Completion)


@pytest.mark.parametrize(
    "answer",
    [
        {"content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"},
        {"message": {"role": "assistant", "content": "Hello"}, "done": True},
        {"response": "Hello", "done": True},
        {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}], "status": "completed"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"data": [{"index": 0, "embedding": [0.5]}]},
    ],
)
def test_an_exception_beside_a_part_of_an_answer_in_any_dialect_is_no_error(answer: dict[str, Any]) -> None:
    assert find_error({**answer, "lastException": {"message": "retried once"}}) is None


def test_an_event_with_the_name_of_an_exception_is_an_error() -> None:
    outcome = _outcome(HELLO, {"message": "Too many requests"}, name="exception")
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.RATE_LIMITED


@pytest.mark.parametrize(
    "events",
    [
        ({"status": "queued", "message": "2 before you"}, HELLO),
        (HELLO, {"detail": "cached"}, END),
        (HELLO, END, {"message": "bye"}),
        (HELLO, {"code": 0, "message": "success"}),
        (HELLO, {"message": "done", "usage": {"completion_tokens": 1}}),
    ],
)
def test_words_beside_a_whole_answer_take_nothing_back(events: tuple[Any, ...]) -> None:
    outcome = _outcome(*events)
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == "Hello"


def test_an_answer_in_a_body_of_a_gateway_is_read() -> None:
    answer = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    outcome = parse_completion(orjson.dumps({"statusCode": 200, "body": answer}), {})
    assert isinstance(outcome, Completion)
    assert outcome.text == "Hello"


@pytest.mark.parametrize("content", [{}, False, None])
def test_an_empty_object_or_false_as_the_content_of_a_piece_adds_nothing(content: Any) -> None:
    outcome = _outcome({"choices": [{"index": 0, "delta": {"content": content}}]}, HELLO, END)
    assert isinstance(outcome, Completion)
    assert outcome.text == "Hello"
