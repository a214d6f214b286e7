"""The OpenAI backend against real sockets that answer well, badly, or not at all."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import Dialect
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.usage import read_completion_usage
from tests.faults import (
    COMPLETION,
    MESSAGE,
    USAGE,
    FaultServer,
    Script,
    answer,
    cut,
    cut_events,
    drip,
    drip_events,
    events,
    fault_server,
    piece,
    raw,
    reset,
    stall,
)
from tests.workers.backends.openai_calls import KEY, REQUEST_BODY, RedirectedTransport, ask, run, served


def test_an_answer_is_the_providers_whole_body_and_what_it_cost() -> None:
    outcome = ask(answer(COMPLETION))
    assert outcome == Completion(
        text=MESSAGE["content"], finish_reason="stop", usage=read_completion_usage(COMPLETION), body=COMPLETION
    )


def test_the_body_is_unchanged_except_for_model_stream_and_limit() -> None:
    body = REQUEST_BODY | {
        "model": "ours",
        "stream": True,
        "stream_options": {"x": 1},
        "vendor": {"extra": [1, None, "ü"]},
    }
    _, server = served(answer(COMPLETION), body=body)
    [received] = server.calls_received
    sent = orjson.loads(received.body)
    assert sent == REQUEST_BODY | {"model": "upstream-name", "vendor": {"extra": [1, None, "ü"]}, "max_tokens": 77}
    assert received.path == "/v1/chat/completions"
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["content-type"] == "application/json"


def test_a_model_that_refuses_sampling_parameters_is_sent_none() -> None:
    _, server = served(
        answer(COMPLETION), body=REQUEST_BODY | {"temperature": 1, "top_p": 1, "top_k": 1}, sampling_params=False
    )
    assert orjson.loads(server.calls_received[0].body).keys() == {"messages", "model", "max_tokens"}


@pytest.mark.parametrize(
    ("dialect", "body", "limits"),
    [
        ("openai", REQUEST_BODY, {"max_completion_tokens": 77}),
        ("openai", REQUEST_BODY | {"max_tokens": 5}, {"max_tokens": 5}),
        ("anthropic", REQUEST_BODY | {"max_tokens": 5}, {"max_completion_tokens": 5}),
    ],
)
def test_openai_itself_gets_the_default_limit_by_the_name_that_all_its_models_know(
    dialect: Dialect, body: dict[str, Any], limits: dict[str, int]
) -> None:
    async def work() -> tuple[Outcome, FaultServer]:
        async with fault_server(answer(COMPLETION)) as server:
            backend = open_backend(Backend(url="https://api.openai.com/v1", pool="cloud"), RedirectedTransport(server))
            request = Request(body=body, upstream="m", timeout=60, max_tokens=77, dialect=dialect)
            try:
                return await backend.complete(request), server
            finally:
                await backend.close()

    outcome, server = run(work())
    assert isinstance(outcome, Completion)
    sent = orjson.loads(server.calls_received[0].body)
    assert {key: value for key, value in sent.items() if key.startswith("max_")} == limits


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_callers_own_limit_stays(name: str) -> None:
    _, server = served(answer(COMPLETION), body=REQUEST_BODY | {name: 5})
    sent = orjson.loads(server.calls_received[0].body)
    assert {key: value for key, value in sent.items() if key.startswith("max")} == {name: 5}


def test_a_streamed_call_asks_for_usage_and_keeps_the_callers_options() -> None:
    script = events(piece(content="x"), piece("stop"))
    _, server = served(script, deltas=[], body=REQUEST_BODY | {"stream_options": {"mine": 1}})
    sent = orjson.loads(server.calls_received[0].body)
    assert (sent["stream"], sent["stream_options"]) == (True, {"mine": 1, "include_usage": True})


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_stream_becomes_the_body_that_the_same_call_without_one_has(newline: bytes) -> None:
    deltas: list[str] = []
    usage = piece() | {"choices": [], "usage": USAGE}
    pieces = [piece(role="assistant", content=""), piece(content="A lan"), piece(content="tern."), piece("stop"), usage]
    outcome = ask(events(*pieces, newline=newline), deltas=deltas)
    assert isinstance(outcome, Completion)
    assert deltas == ["A lan", "tern."]
    message = {"role": "assistant", "content": "A lantern."}
    assert outcome.body["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert outcome.body["object"] == "chat.completion"
    assert (outcome.text, outcome.usage.input_tokens, outcome.usage.output_tokens) == ("A lantern.", 41, 5)


def test_streamed_tool_calls_are_assembled() -> None:
    def call(index: int, **more: object) -> dict[str, object]:
        return piece(tool_calls=[{"index": index, **more}])

    outcome = ask(
        events(
            call(0, id="a", type="function", function={"name": "look", "arguments": ""}),
            call(0, function={"arguments": '{"at":'}),
            call(1, id="b", type="function", function={"name": "wave", "arguments": "{}"}),
            call(0, function={"arguments": '"sky"}'}),
            piece("tool_calls"),
        ),
        deltas=[],
    )
    assert isinstance(outcome, Completion)
    assert outcome.body["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}},
        {"id": "b", "type": "function", "function": {"name": "wave", "arguments": "{}"}},
    ]
    assert (outcome.text, outcome.finish_reason) == ("", "tool_calls")


def test_a_server_that_cannot_stream_still_answers() -> None:
    deltas: list[str] = []
    assert isinstance(ask(answer(COMPLETION), deltas=deltas), Completion)
    assert deltas == [MESSAGE["content"]]


def test_a_stream_that_finished_is_whole_though_its_connection_broke() -> None:
    outcome = ask(cut_events(piece(content="A lantern."), piece("stop")), deltas=[])
    assert isinstance(outcome, Completion)
    assert outcome.text == "A lantern."


PAGE = b"<html><h1>502 Bad Gateway</h1></html>"
BROKEN = {"message": "the model fell over", "type": "server_error", "code": 500}
FAULTS: dict[str, tuple[Script, E]] = {
    "a gateway's web page": (answer(PAGE, 502, Content_Type="text/html"), E.CONNECTION),
    "a web page instead of an answer": (answer(PAGE, 200, Content_Type="text/html"), E.MALFORMED),
    "a reset before the headers": (reset, E.CONNECTION),
    "an end before the headers": (raw(b""), E.CONNECTION),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), E.CONNECTION),
    "a truncated body": (cut(COMPLETION), E.MALFORMED),
    "a slow drip": (drip, E.TIMEOUT),
    "a stall": (stall, E.TIMEOUT),
    "an error inside a 200": (answer({"error": BROKEN}), E.OVERLOADED),
    "an error inside a list inside a 200": (answer([{"error": BROKEN}]), E.OVERLOADED),
    "an error as a string inside a 200": (answer({"error": "cudaMalloc failed"}), E.NO_VRAM),
    "an error inside a choice": (
        answer({"choices": [{"message": {"content": "A"}, "finish_reason": "error", "error": {"code": 429}}]}),
        E.RATE_LIMITED,
    ),
    "a rate limit": (answer({"error": {"message": "slow down"}}, 429, Retry_After="7"), E.RATE_LIMITED),
    "an overload": (answer({"type": "error", "error": {"type": "overloaded_error"}}, 529), E.OVERLOADED),
    "garbage": (answer(b'{"choices": [{'), E.MALFORMED),
    "no object": (answer([1, 2]), E.MALFORMED),
    "empty choices": (answer(COMPLETION | {"choices": []}), E.MALFORMED),
    "an unknown finish reason": (answer({"choices": [{"message": MESSAGE, "finish_reason": "odd"}]}), E.MALFORMED),
    "no message": (answer({"choices": [{"finish_reason": "stop"}]}), E.MALFORMED),
    "a filtered answer": (
        answer({"choices": [{"message": MESSAGE, "finish_reason": "content_filter"}]}),
        E.CONTENT_FILTER,
    ),
    "a redirect": (answer(b"", 307, Location="http://127.0.0.1:1/"), E.OTHER),
    "an unreadable encoding": (answer(b"no gzip", Content_Encoding="gzip"), E.MALFORMED),
}
STREAM_FAULTS: dict[str, tuple[Script, E]] = {
    "a stream cut short": (cut_events(piece(content="A lan")), E.MALFORMED),
    "a stream that ends without a finish": (events(piece(content="A lan"), done=False), E.MALFORMED),
    "a stream without an end": (events(piece(content="A lan"), done=False), E.MALFORMED),
    "an empty stream": (events(done=False), E.MALFORMED),
    "an error within a stream": (events(piece(content="A"), {"error": BROKEN}, piece("stop")), E.OVERLOADED),
    "an error in an older llama-server's stream": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nerror: " + orjson.dumps(BROKEN) + b"\n\n"),
        E.OVERLOADED,
    ),
    "an error finish": (events(piece(content="A"), piece("error")), E.OTHER),
    "an event that is no JSON": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {nope\n\n"),
        E.MALFORMED,
    ),
    "an event that is no chunk": (events(3), E.MALFORMED),
    "a stream that drips without end": (drip_events, E.TIMEOUT),
}


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
@pytest.mark.parametrize(("script", "meant"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_a_failure_of_its_class(script: Script, meant: E, deltas: list[str] | None) -> None:
    outcome = ask(script, timeout=0.5 if meant is E.TIMEOUT else 60, deltas=deltas)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant
    assert outcome.detail
    assert outcome.retry_after == (7 if script is FAULTS["a rate limit"][0] else None)


@pytest.mark.parametrize(("script", "meant"), STREAM_FAULTS.values(), ids=STREAM_FAULTS.keys())
def test_a_fault_within_a_stream_is_a_failure_of_its_class(script: Script, meant: E) -> None:
    outcome = ask(script, timeout=0.5 if meant is E.TIMEOUT else 60, deltas=[])
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant
