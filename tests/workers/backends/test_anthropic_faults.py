"""Faults of an Anthropic server, in whole and in streamed answers: each is a failure of its class."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass as E
from tests.faults import LINGERING, Script, answer, cut, drip, head, reset, stall
from tests.workers.backends.anthropic_calls import (
    END,
    HELLO,
    MESSAGE,
    PROMPT,
    REQUEST_BODY,
    block,
    served,
    sse,
    start,
    stop,
)


def error(type: str, message: str = "x", **details: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": type, "message": message, "details": details or None}}


BAD_INPUT = block(0, {"type": "tool_use", "id": "t", "name": "look"}, {"type": "input_json_delta", "partial_json": "{"})
PAGE = b"<html><h1>502 Bad Gateway</h1></html>"
REFUSED = MESSAGE | {"stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "bio"}}
FULL_CONTEXT = MESSAGE | {"stop_reason": "model_context_window_exceeded"}
FAULTS: dict[str, tuple[Script, E]] = {
    "a gateway's web page": (answer(PAGE, 502, Content_Type="text/html"), E.CONNECTION),
    "a web page instead of an answer": (answer(PAGE, 200, Content_Type="text/html"), E.MALFORMED),
    "a reset before the headers": (reset, E.CONNECTION),
    "a truncated body": (cut(MESSAGE), E.MALFORMED),
    "a slow drip": (drip, E.TIMEOUT),
    "a stall": (stall, E.TIMEOUT),
    "an error inside a 200": (answer(error("overloaded_error")), E.OVERLOADED),
    "an overload": (answer(error("overloaded_error", "Overloaded"), 529), E.OVERLOADED),
    "no message": (answer({"type": "message"}), E.MALFORMED),
    "an unknown stop reason": (answer(MESSAGE | {"stop_reason": "cosmic_ray"}), E.MALFORMED),
    "a refusal": (answer(REFUSED), E.CONTENT_FILTER),
    "a full context": (answer(FULL_CONTEXT), E.CONTEXT_OVERFLOW),
}


async def pings(writer: asyncio.StreamWriter) -> None:
    """A message that begins and then sends only pings."""
    writer.write(head(200, None, {"Content-Type": "text/event-stream"}))
    writer.write(b"event: message_start\ndata: " + orjson.dumps(start()) + b"\n\n")
    while True:
        writer.write(b'event: ping\ndata: {"type": "ping"}\n\n')
        await writer.drain()
        await asyncio.sleep(0.02)


async def lost(writer: asyncio.StreamWriter) -> None:
    """A message whose connection is reset after its first text."""
    writer.write(head(200, None, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
    for event in (start(), *block(0, {"type": "text", "text": "Hel"})):
        data = b"data: " + orjson.dumps(event) + b"\n\n"
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()
    writer.transport.abort()


LINGERING.add(pings)
STREAM_FAULTS: dict[str, tuple[Script, E]] = {
    "an overload within the stream": (sse(start(), *HELLO, error("overloaded_error"), END), E.OVERLOADED),
    "an api error within the stream": (sse(start(), error("api_error", "Internal server error")), E.OVERLOADED),
    "a stream that pings for ever": (pings, E.TIMEOUT),
    "a stream whose connection is lost": (lost, E.MALFORMED),
    "a stream cut short": (sse(start(), *block(0, {"type": "text", "text": "Hel"})), E.MALFORMED),
    "a stream that ends without a stop reason": (sse(start(), END), E.MALFORMED),
    "an empty stream": (sse(), E.MALFORMED),
    "an event that is no JSON": (sse(start(), last=b"data: {nope\n\n"), E.MALFORMED),
    "an event that is no object": (sse(start(), last=b"data: 3\n\n"), E.MALFORMED),
    "a tool input that is no JSON": (sse(start(), *BAD_INPUT, stop("tool_use"), END), E.INVALID_OUTPUT),
    "a streamed refusal": (sse(start(), stop("refusal"), END), E.CONTENT_FILTER),
}


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
@pytest.mark.parametrize(("script", "error_class"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_a_failure_of_its_class(script: Script, error_class: E, deltas: list[str] | None) -> None:
    outcome, _ = served(script, timeout=0.5 if error_class is E.TIMEOUT else 60, deltas=deltas)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is error_class
    assert outcome.detail


@pytest.mark.parametrize(("script", "error_class"), STREAM_FAULTS.values(), ids=STREAM_FAULTS.keys())
def test_a_fault_within_a_stream_is_a_failure_of_its_class(script: Script, error_class: E) -> None:
    outcome, _ = served(script, timeout=0.5 if error_class is E.TIMEOUT else 60, deltas=[])
    assert isinstance(outcome, Failure)
    assert outcome.error_class is error_class


@pytest.mark.parametrize("body", [REQUEST_BODY, REQUEST_BODY | {"messages": [], "system": PROMPT}])
def test_a_refusal_that_repeats_the_prompt_is_reported_without_it(body: dict[str, Any]) -> None:
    result = error("invalid_request_error", f"messages: cannot take '{PROMPT}'")
    outcome, _ = served(answer(result, 400), body=body)
    assert outcome == Failure(error_class=E.BAD_REQUEST, detail="HTTP 400 invalid_request_error", http_status=400)
