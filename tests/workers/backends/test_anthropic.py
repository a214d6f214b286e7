"""The Anthropic backend over real sockets: its requests, and its outcomes of whole and streamed answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import orjson
import pytest
from pydantic import SecretStr

from openfall.router_core.catalog.entries import Backend
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.anthropic_client import MAX_TOKENS, AnthropicBackend
from openfall.workers.backends.base import Request
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.transport import Transport
from tests.faults import LINGERING, FaultServer, Script, answer, cut, drip, fault_server, head, raw, reset, stall
from tests.workers.backends.openai_calls import RedirectedTransport

T = TypeVar("T")
KEY = "sk-ant-of-a-very-secret-kind"
PROMPT = "Haruka greets the festival crowd"
REQUEST_BODY: dict[str, Any] = {"max_tokens": 64, "messages": [{"role": "user", "content": PROMPT}]}
USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 18,
    "output_tokens": 5,
    "service_tier": "standard",
}
MESSAGE: dict[str, Any] = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "A lantern "}, {"type": "text", "text": "festival."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 20))


def served(
    *scripts: Script, deltas: list[str] | None = None, version: str | None = None, **received: Any
) -> tuple[Outcome, FaultServer]:
    """The outcome of one call, and the server as it left it. With `deltas` it is streamed."""

    async def work() -> tuple[Outcome, FaultServer]:
        async with fault_server(*scripts) as server:
            backend = AnthropicBackend(server.url, KEY, Transport(keep_alive=True), version)
            request = Request(
                **{"body": REQUEST_BODY, "upstream": "claude", "timeout": 10, "dialect": "anthropic", "max_tokens": 77}
                | received
            )
            try:
                outcome = await backend.complete(request, None if deltas is None else deltas.append)
            finally:
                await backend.close()
            return outcome, server

    return run(work())


def sent(**received: Any) -> dict[str, Any]:
    """The body that reaches the server."""
    _, server = served(answer(MESSAGE), **received)
    body: dict[str, Any] = orjson.loads(server.calls_received[0].body)
    return body


def sse(*result: dict[str, Any], newline: bytes = b"\n", last: bytes = b"") -> Script:
    """A stream as Anthropic writes it: each event named, and its data."""
    data = b"".join(
        b"event: " + event["type"].encode() + newline + b"data: " + orjson.dumps(event) + newline * 2
        for event in result
    )
    return raw(head(200, None, {"Content-Type": "text/event-stream; charset=utf-8"}) + data + last)


def start(**usage: int) -> dict[str, Any]:
    begun = MESSAGE | {"content": [], "stop_reason": None, "usage": USAGE | {"output_tokens": 1} | usage}
    return {"type": "message_start", "message": begun}


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": index}


def stop(reason: str, **more: Any) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None, **more}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5, "input_tokens": None}}


END = {"type": "message_stop"}
PING = {"type": "ping"}
HELLO = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"})


def test_an_answer_is_the_whole_message_and_its_prompt_count_includes_cached_tokens() -> None:
    outcome, server = served(answer(MESSAGE))
    assert outcome == Completion(
        text="A lantern festival.", finish_reason="end_turn", input_tokens=41, output_tokens=5,
        cache_read_tokens=18, cache_write_tokens=20, body=MESSAGE,
    )  # fmt: skip
    [received] = server.calls_received
    assert received.path == "/v1/messages"
    assert received.headers["x-api-key"] == KEY
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert received.headers["authorization"] == f"Bearer {KEY}"


def test_anthropic_itself_gets_the_key_in_one_header_only() -> None:
    async def work() -> None:
        spec = Backend(url="https://api.anthropic.com", pool="cloud", protocol="anthropic", api_key=SecretStr(KEY))
        async with fault_server(answer(MESSAGE)) as server:
            transport = RedirectedTransport(server)
            backend = open_backend(spec, transport)
            try:
                outcome = await backend.complete(
                    Request(body=REQUEST_BODY, upstream="m", timeout=5, dialect="anthropic")
                )
            finally:
                await backend.close()
        assert isinstance(outcome, Completion)
        assert list(map(str, transport.urls)) == ["https://api.anthropic.com/v1/messages"]
        assert server.calls_received[0].headers["x-api-key"] == KEY
        assert "authorization" not in server.calls_received[0].headers

    run(work())


FULL: dict[str, Any] = {
    "model": "ours",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "Speak as Haruka.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "metadata": {"user_id": "u-1"},
    "tools": [
        {"name": "look", "input_schema": {"type": "object", "properties": {}}, "cache_control": {"type": "ephemeral"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "document", "source": {"type": "url", "url": "https://h/x"}, "citations": {"enabled": True}},
                {"type": "text", "text": "What does the sky look like?", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Look up.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h=="},
                {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"},
                {"type": "tool_use", "id": "toolu_01", "name": "look", "input": {"at": "sky", "n": 1.0, "z": None}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": [{"type": "text", "text": "stars"}],
                 "is_error": False}
            ],
        },
    ],
    "vendor": {"extra": [1, None, "ü"]},
}  # fmt: skip


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_the_body_passes_byte_for_byte_but_for_the_model_and_the_stream(deltas: list[str] | None) -> None:
    _, server = served(answer(MESSAGE), body=FULL | {"stream": deltas is None}, deltas=deltas)
    streamed = {} if deltas is None else {"stream": True}
    assert server.calls_received[0].body == orjson.dumps(FULL | {"model": "claude"} | streamed)


def test_a_missing_limit_is_added() -> None:
    body = {"messages": REQUEST_BODY["messages"]}
    assert sent(body=body)["max_tokens"] == 77
    assert sent(body=body, max_tokens=None)["max_tokens"] == MAX_TOKENS
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 9000}}
    assert sent(body=body | thinking)["max_tokens"] == 9077
    assert sent(body=REQUEST_BODY)["max_tokens"] == 64


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ({}, {"temperature": 0.5, "top_p": 0.9, "top_k": 3}),
        ({"sampling_params": False}, {}),
        ({"version": "2026-10-21"}, {}),
        ({"version": "2023-06-01", "sampling_params": False}, {}),
    ],
)
def test_parameters_that_a_model_or_a_version_refuses_are_omitted(result: dict[str, Any], kept: dict[str, Any]) -> None:
    sampling = {"temperature": 0.5, "top_p": 0.9, "top_k": 3}
    body = sent(body=REQUEST_BODY | sampling, **result)
    assert {key: value for key, value in body.items() if key in sampling} == kept


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_stream_becomes_the_message_that_the_same_call_without_one_has(newline: bytes) -> None:
    deltas: list[str] = []
    pieces = [
        start(),
        PING,
        *block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in ("A lan", "tern "))),
        {"type": "an_event_of_next_year", "index": 0, "surprise": True},
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "festival."}, {"type": "new_delta"}),
        stop("end_turn"),
        END,
    ]
    outcome, _ = served(sse(*pieces, newline=newline), deltas=deltas)
    assert deltas == ["A lan", "tern ", "festival."]
    assert outcome == served(answer(MESSAGE))[0]


def test_thinking_signatures_citations_and_tools_are_assembled() -> None:
    cited = {"type": "char_location", "cited_text": "stars", "document_index": 0}
    deltas: list[str] = []
    pieces = [
        start(),
        *block(
            0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Look "},
            {"type": "thinking_delta", "thinking": "up."}, {"type": "signature_delta", "signature": "EqQB=="},
        ),
        *block(1, {"type": "redacted_thinking", "data": "Emw"}),
        *block(
            2, {"type": "text", "text": "", "citations": None}, {"type": "citations_delta", "citation": cited},
            {"type": "text_delta", "text": "Stars"}, {"type": "citations_delta", "citation": cited},
        ),
        *block(
            3, {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
            *({"type": "input_json_delta", "partial_json": part} for part in ("", '{"at":', '"sky"}')),
        ),
        *block(4, {"type": "tool_use", "id": "toolu_2", "name": "wave", "input": {}}),
        stop("tool_use"),
        END,
    ]  # fmt: skip
    outcome, _ = served(sse(*pieces), deltas=deltas)
    assert isinstance(outcome, Completion)
    assert outcome.body["content"] == [
        {"type": "thinking", "thinking": "Look up.", "signature": "EqQB=="},
        {"type": "redacted_thinking", "data": "Emw"},
        {"type": "text", "text": "Stars", "citations": [cited, cited]},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "sky"}},
        {"type": "tool_use", "id": "toolu_2", "name": "wave", "input": {}},
    ]
    assert (deltas, outcome.text, outcome.finish_reason) == (["Stars"], "Stars", "tool_use")


def test_the_usage_at_the_end_replaces_that_of_the_start() -> None:
    final = stop("end_turn") | {"usage": {"output_tokens": 9, "input_tokens": 4, "cache_read_input_tokens": 100}}
    outcome, _ = served(sse(start(), *HELLO, final, END), deltas=[])
    assert isinstance(outcome, Completion)
    assert (outcome.input_tokens, outcome.output_tokens, outcome.cache_read_tokens) == (124, 9, 100)


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn"])
def test_an_answer_may_end_for_many_reasons(reason: str) -> None:
    outcome, _ = served(answer(MESSAGE | {"stop_reason": reason}))
    assert isinstance(outcome, Completion)
    assert outcome.finish_reason == reason


def test_a_tool_input_that_the_limit_cut_off_is_an_answer_with_that_stop_reason() -> None:
    tool = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    cut_off = block(0, tool, {"type": "input_json_delta", "partial_json": '{"at":'})
    outcome, _ = served(sse(start(), *cut_off, stop("max_tokens"), END), deltas=[])
    assert isinstance(outcome, Completion)
    assert (outcome.finish_reason, outcome.body["content"]) == ("max_tokens", [tool])


def test_a_finished_stream_is_whole_without_its_last_event() -> None:
    outcome, _ = served(sse(start(), *block(0, {"type": "text", "text": "Hi"}), stop("end_turn")), deltas=[])
    assert isinstance(outcome, Completion)


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
    "no stop reason": (answer(MESSAGE | {"stop_reason": None}), E.MALFORMED),
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
    "a tool input that is no JSON": (sse(start(), *BAD_INPUT, stop("tool_use"), END), E.MALFORMED),
    "a streamed refusal": (sse(start(), stop("refusal"), END), E.CONTENT_FILTER),
}


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
@pytest.mark.parametrize(("script", "meant"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_a_failure_of_its_class(script: Script, meant: E, deltas: list[str] | None) -> None:
    outcome, _ = served(script, timeout=0.5 if meant is E.TIMEOUT else 10, deltas=deltas)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant
    assert outcome.detail


@pytest.mark.parametrize(("script", "meant"), STREAM_FAULTS.values(), ids=STREAM_FAULTS.keys())
def test_a_fault_within_a_stream_is_a_failure_of_its_class(script: Script, meant: E) -> None:
    outcome, _ = served(script, timeout=0.5 if meant is E.TIMEOUT else 10, deltas=[])
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant


@pytest.mark.parametrize("body", [REQUEST_BODY, REQUEST_BODY | {"messages": [], "system": PROMPT}])
def test_a_refusal_that_repeats_the_prompt_is_reported_without_it(body: dict[str, Any]) -> None:
    result = error("invalid_request_error", f"messages: cannot take '{PROMPT}'")
    outcome, _ = served(answer(result, 400), body=body)
    assert outcome == Failure(error_class=E.BAD_REQUEST, detail="HTTP 400 invalid_request_error")
