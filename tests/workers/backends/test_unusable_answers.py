"""An answer without a token, or with the call of a tool that it does not name, is none, in each dialect."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import Dialect
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.unusable_answer import EMPTY
from tests.faults import answer, events, piece
from tests.workers.backends.openai_calls import ask, served

NONE = {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}
SOME = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def completion(finish: str = "stop", usage: Any = NONE, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


def call(name: Any, arguments: Any = '{"a":1}') -> dict[str, Any]:
    return {"index": 0, "id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}


CANDIDATE = {
    "candidates": [{"finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
}


@pytest.mark.parametrize(
    "body",
    [
        completion(content=""),
        completion(content=None),
        completion(usage={"prompt_tokens": 9, "total_tokens": 9}),
        {"choices": [{"index": 0, "finish_reason": "stop"}], "usage": NONE},
        CANDIDATE,
        {"type": "message", "content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 9, "output_tokens": 0}},
        {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 9},
    ],
    ids=["an empty text", "null", "no content", "no message", "Gemini", "Anthropic", "Ollama"],
)
def test_an_answer_without_a_token_is_charged_to_no_model_and_asked_again(body: dict[str, Any]) -> None:
    outcome = ask(answer(body))
    assert isinstance(outcome, Failure), outcome
    assert (outcome.error_class, outcome.detail) == (E.INVALID_OUTPUT, EMPTY)
    assert outcome.usage.input_tokens == 9 or "message" in body


def test_a_stream_without_a_token_is_no_answer() -> None:
    outcome, _ = served(events(piece(content=""), piece("stop"), {"choices": [], "usage": NONE}), deltas=[])
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.INVALID_OUTPUT


def test_a_prompt_that_leaves_no_room_for_an_answer_is_too_long() -> None:
    outcome = ask(answer(completion("length", content="")))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.CONTEXT_OVERFLOW


@pytest.mark.parametrize(
    "body",
    [
        completion(content="", usage=SOME),
        completion(content="", usage=None),
        completion(content="A"),
        completion(content="", images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
        completion(content="", reasoning_content="Hm"),
        completion("tool_calls", tool_calls=[call("f")]),
        completion("length", content="", usage=SOME),
    ],
    ids=["an end", "uncounted", "a text", "an image", "reasoning", "a call", "thoughts"],
)
def test_an_answer_with_a_token_or_of_unknown_length_is_an_answer(body: dict[str, Any]) -> None:
    assert isinstance(ask(answer(body)), Completion)


NAMELESS = [
    completion("tool_calls", tool_calls=[call("")]),
    completion("tool_calls", tool_calls=[call("f"), call(None)]),
    {
        "type": "message",
        "content": [{"type": "tool_use", "id": "c", "name": "", "input": {}}],
        "stop_reason": "tool_use",
    },
    {"message": {"tool_calls": [{"function": {"name": "", "arguments": {}}}]}, "done": True, "eval_count": 4},
]


@pytest.mark.parametrize("body", NAMELESS, ids=["OpenAI", "one of two", "Anthropic", "Ollama"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_call_without_the_name_of_its_tool_is_no_answer(body: dict[str, Any], dialect: Dialect) -> None:
    request = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    outcome = ask(answer(body), body=request, dialect=dialect)
    assert isinstance(outcome, Failure), outcome
    assert outcome.error_class is E.INVALID_OUTPUT


@pytest.mark.parametrize("arguments", ["", None, "{}"])
def test_a_call_without_a_name_and_without_arguments_is_left_out(arguments: Any) -> None:
    ghost = call("", arguments) | {"index": 1}
    for script in (
        answer(completion("tool_calls", tool_calls=[call("f"), ghost])),
        events(piece(tool_calls=[call("f")]), piece(tool_calls=[ghost]), piece("tool_calls")),
    ):
        outcome = ask(script)
        assert isinstance(outcome, Completion), outcome
        names = [made["function"]["name"] for made in outcome.body["choices"][0]["message"]["tool_calls"]]
        assert names == ["f"]


@pytest.mark.parametrize("none", ["null", "None", ""])
def test_a_finish_reason_that_is_the_word_for_none_gives_way_to_the_next(none: str) -> None:
    outcome = ask(events(piece(none, content="A"), piece("stop"), done=False))
    assert isinstance(outcome, Completion), outcome
    assert outcome.finish_reason == "stop"


def test_a_stop_behind_another_finish_reason_takes_nothing_back() -> None:
    cut, filtered = (ask(events(piece(content="A"), piece(finish), piece("stop"))) for finish in ("length", "safety"))
    assert isinstance(cut, Completion)
    assert cut.finish_reason == "length"
    assert isinstance(filtered, Failure)
    assert filtered.error_class is E.CONTENT_FILTER


@pytest.mark.parametrize("unknown", [{"role": "assistant"}, "thinking", "null", 7, ["length"]])
def test_a_stop_replaces_a_finish_reason_without_a_known_meaning(unknown: Any) -> None:
    outcome = ask(events(piece(unknown, content="A"), piece("stop")))
    assert isinstance(outcome, Completion), outcome
    assert (outcome.text, outcome.finish_reason) == ("A", "stop")
