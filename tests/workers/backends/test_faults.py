"""Every backend against every fault on the wire: the right error class, in time, and never a completion."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.catalog.backend_entry import Protocol
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends import response_reader
from openfall.workers.backends.call_request import Request
from tests.faults import (
    COMPLETION,
    Script,
    answer,
    cut,
    cut_chunks,
    drip,
    dripping,
    events,
    fault_server,
    flood,
    lines,
    named_events,
    piece,
    raw,
    reset,
    stall,
)
from tests.workers.backends.protocol_clients import PROTOCOLS, adapter, request_body, run
from tests.workers.backends.received import texts_into

PAGE = b"<html><h1>502 Bad Gateway</h1></html>"
TEXT = "A lantern festival."
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": TEXT}],
    "usage": {"input_tokens": 41, "output_tokens": 5},
}  # fmt: skip
LINE = {"model": "m", "created_at": "2026-11-01T10:00:00Z", "message": {"role": "assistant", "content": "A lan"}}
CHAT = LINE | {
    "message": {"role": "assistant", "content": TEXT}, "done": True, "done_reason": "stop", "eval_count": 5,
    "prompt_eval_count": 41,
}  # fmt: skip
WHOLE: dict[Protocol, dict[str, Any]] = {"openai": COMPLETION, "anthropic": MESSAGE, "ollama": CHAT}
ERRORS: dict[Protocol, tuple[Any, E]] = {
    "openai": ({"error": {"message": "the model fell over", "type": "server_error", "code": 500}}, E.OVERLOADED),
    "anthropic": ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, E.OVERLOADED),
    "ollama": ({"error": "an error was encountered while running the model: EOF"}, E.OVERLOADED),
}
"""An error within a 200 in each dialect."""

BEGINNING: dict[Protocol, list[dict[str, Any]]] = {
    "openai": [piece(role="assistant", content=""), piece(content="A lan")],
    "anthropic": [
        {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A lan"}},
    ],
    "ollama": [LINE | {"done": False}],
}
STREAM: dict[Protocol, str] = {"openai": "text/event-stream", "anthropic": "text/event-stream"}
STREAM["ollama"] = "application/x-ndjson"


def written(protocol: Protocol, *result: dict[str, Any]) -> bytes:
    """Events as they stand in a stream of that dialect."""
    if protocol == "ollama":
        return b"".join(orjson.dumps(item) + b"\n" for item in result)
    named = (b"event: %b\n" % item["type"].encode() if protocol == "anthropic" else b"" for item in result)
    return b"".join(name + b"data: " + orjson.dumps(item) + b"\n\n" for name, item in zip(named, result, strict=True))


def streamed(protocol: Protocol, *result: dict[str, Any]) -> Script:
    match protocol:
        case "openai":
            return events(*result, done=False)
        case "anthropic":
            return named_events(*result)
        case "ollama":
            return lines(*result)


def ask(protocol: Protocol, script: Script, deltas: list[str] | None, timeout: float = 10) -> Outcome:
    async def work() -> Outcome:
        async with fault_server(script) as server, adapter(protocol, server.url) as backend:
            body = request_body(protocol, "Haruka greets the festival crowd", limit=20)
            request = Request(body=body, upstream="m", timeout=timeout, dialect=protocol, ctx=512)
            return await backend.complete(request, texts_into(deltas))

    return run(work())


def failure(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failure), "a fault became a completion"
    assert "Haruka" not in outcome.detail
    return outcome


both = pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
every = pytest.mark.parametrize("protocol", PROTOCOLS)

FAULTS: dict[str, tuple[Script, E]] = {
    "a gateway's web page": (answer(PAGE, 502, Content_Type="text/html"), E.CONNECTION),
    "a web page with a 503": (answer(PAGE, 503, Content_Type="text/html"), E.CONNECTION),
    "a web page in place of an answer": (answer(PAGE, 200, Content_Type="text/html"), E.MALFORMED),
    "a reset before the headers": (reset, E.CONNECTION),
    "an end before the headers": (raw(b""), E.CONNECTION),
    "an end within the headers": (raw(b"HTTP/1.1 200 OK\r\nContent-Ty"), E.CONNECTION),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), E.CONNECTION),
    "an empty 200": (answer(b""), E.MALFORMED),
    "garbage": (answer(b'{"choices": [{'), E.MALFORMED),
    "no object": (answer([1, 2]), E.MALFORMED),
    "an object that is no answer": (answer({"hello": "there"}), E.MALFORMED),
    "a stall": (stall, E.TIMEOUT),
    "a slow drip": (drip, E.TIMEOUT),
    "an overload": (
        answer({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529),
        E.OVERLOADED,
    ),
    "an overload without a body": (answer(b"", 529), E.OVERLOADED),
    "a 500": (answer({"error": "something broke"}, 500), E.OVERLOADED),
    "a 408": (answer({"error": "too slow"}, 408), E.TIMEOUT),
    "a 504": (answer({"error": "too slow"}, 504), E.TIMEOUT),
    "a refused key": (answer({"error": "unauthorized"}, 401), E.AUTH),
    "a redirect": (answer(b"", 307, Location="http://127.0.0.1:1/"), E.OTHER),
    "an unreadable encoding": (answer(b"no gzip", Content_Encoding="gzip"), E.MALFORMED),
}


@both
@every
@pytest.mark.parametrize(("script", "meant"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_a_failure_of_its_class(
    protocol: Protocol, deltas: list[str] | None, script: Script, meant: E
) -> None:
    outcome = ask(protocol, script, deltas, timeout=0.4 if script in (stall, drip) else 60)
    assert failure(outcome).error_class is meant
    assert failure(outcome).detail


@both
@every
def test_a_rate_limit_carries_its_retry_after(protocol: Protocol, deltas: list[str] | None) -> None:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    outcome = failure(ask(protocol, answer(body, 429, Retry_After="7"), deltas))
    assert (outcome.error_class, outcome.retry_after) == (E.RATE_LIMITED, 7)


@both
@every
def test_an_answer_cut_within_its_body_is_malformed(protocol: Protocol, deltas: list[str] | None) -> None:
    assert failure(ask(protocol, cut(WHOLE[protocol]), deltas)).error_class is E.MALFORMED


@both
@every
def test_an_error_within_a_200_is_no_answer(protocol: Protocol, deltas: list[str] | None) -> None:
    body, meant = ERRORS[protocol]
    assert failure(ask(protocol, answer(body), deltas)).error_class is meant


@both
@every
def test_a_whole_answer_without_a_finish_reason_is_an_answer(protocol: Protocol, deltas: list[str] | None) -> None:
    unfinished: dict[Protocol, dict[str, Any]] = {
        "openai": COMPLETION | {"choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}}]},
        "anthropic": MESSAGE | {"stop_reason": None},
        "ollama": CHAT | {"done_reason": ""},
    }
    outcome = ask(protocol, answer(unfinished[protocol]), deltas)
    assert isinstance(outcome, Completion)
    assert (outcome.text, outcome.finish_reason) == (TEXT, "end_turn" if protocol == "anthropic" else "stop")


@both
@every
def test_an_answer_without_content_and_finish_reason_is_malformed(protocol: Protocol, deltas: list[str] | None) -> None:
    empty: dict[Protocol, dict[str, Any]] = {
        "openai": COMPLETION | {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}}]},
        "anthropic": MESSAGE | {"stop_reason": None, "content": []},
        "ollama": CHAT | {"done": False},
    }
    assert failure(ask(protocol, answer(empty[protocol]), deltas)).error_class is E.MALFORMED


@every
def test_the_same_answers_without_a_fault_are_answers(protocol: Protocol) -> None:
    outcome = ask(protocol, answer(WHOLE[protocol]), None)
    assert isinstance(outcome, Completion)
    assert (outcome.text, outcome.usage.input_tokens, outcome.usage.output_tokens) == (TEXT, 41, 5)


@every
def test_a_stream_that_is_cut_is_malformed_though_text_arrived(protocol: Protocol) -> None:
    deltas: list[str] = []
    script = cut_chunks(STREAM[protocol], written(protocol, *BEGINNING[protocol]))
    assert failure(ask(protocol, script, deltas)).error_class is E.MALFORMED
    assert deltas == ["A lan"]


@every
def test_a_stream_cut_within_an_event_is_malformed(protocol: Protocol) -> None:
    data = written(protocol, *BEGINNING[protocol])
    assert failure(ask(protocol, cut_chunks(STREAM[protocol], data[:-9]), [])).error_class is E.MALFORMED


@every
def test_a_stream_that_just_ends_is_malformed(protocol: Protocol) -> None:
    deltas: list[str] = []
    assert failure(ask(protocol, streamed(protocol, *BEGINNING[protocol]), deltas)).error_class is E.MALFORMED
    assert deltas == ["A lan"]


@every
def test_an_empty_stream_is_malformed(protocol: Protocol) -> None:
    assert failure(ask(protocol, streamed(protocol), [])).error_class is E.MALFORMED


@every
def test_an_error_within_a_stream_ends_it(protocol: Protocol) -> None:
    body, meant = ERRORS[protocol]
    deltas: list[str] = []
    script = streamed(protocol, *BEGINNING[protocol], body | ({"type": "error"} if protocol == "anthropic" else {}))
    assert failure(ask(protocol, script, deltas)).error_class is meant
    assert deltas == ["A lan"]


@every
def test_an_event_that_is_no_json_is_malformed(protocol: Protocol) -> None:
    broken = b"{nope\n" if protocol == "ollama" else b"data: {nope\n\n"
    script = cut_chunks(STREAM[protocol], written(protocol, *BEGINNING[protocol]) + broken)
    assert failure(ask(protocol, script, [])).error_class is E.MALFORMED


@every
def test_a_stream_without_an_end_times_out(protocol: Protocol) -> None:
    script = dripping(STREAM[protocol], written(protocol, BEGINNING[protocol][-1]))
    assert failure(ask(protocol, script, [], timeout=0.4)).error_class is E.TIMEOUT


@both
@every
def test_an_answer_without_an_end_is_cut_off(
    protocol: Protocol, deltas: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_reader, "MAX_ANSWER_BYTES", 2**21)
    assert failure(ask(protocol, flood, deltas)).error_class is E.MALFORMED


@every
@pytest.mark.parametrize(
    ("script", "meant"),
    [(FAULTS["a gateway's web page"][0], E.CONNECTION), (reset, E.CONNECTION), (stall, E.TIMEOUT)],
    ids=["a web page", "a reset", "a stall"],
)
def test_a_check_of_an_endpoint_fails_as_a_call_does(protocol: Protocol, script: Script, meant: E) -> None:
    async def work() -> list[Any]:
        async with fault_server(script) as server, adapter(protocol, server.url) as backend:
            return [await backend.check_alive(0.4), await backend.list_models(0.4), await backend.load("m", 512, 0.4)]

    alive, models, loaded = run(work())
    assert failure(alive).error_class is failure(models).error_class is meant
    assert loaded is None if protocol != "ollama" else failure(loaded).error_class is meant
