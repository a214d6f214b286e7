"""The OpenAI backend against real sockets that answer well, badly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
import orjson
import pytest
from pydantic import SecretStr

from router_core.catalog import Backend
from router_core.outcome import Completion, Failure, Outcome
from router_core.outcome import ErrorClass as E
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
    flood,
    kept,
    piece,
    raw,
    reset,
    stall,
)
from workers.backends import reading
from workers.backends.address import address
from workers.backends.base import Request
from workers.backends.openai import PATH, OpenAIBackend
from workers.backends.registry import is_loopback, open_backend
from workers.backends.transport import StaleConnection, open_transport

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Haruka greets the festival crowd"}]}
T = TypeVar("T")
KEY = "sk-of-a-very-secret-kind"
IN_TIME = 20.0
"""No test waits longer than this, whatever the upstream does."""


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, IN_TIME))


def ask(*scripts: Script, body: dict[str, Any] | None = None, timeout: float = 10, **more: Any) -> Outcome:
    return served(*scripts, body=body, timeout=timeout, **more)[0]


def served(
    *scripts: Script,
    body: dict[str, Any] | None = None,
    timeout: float = 10,
    deltas: list[str] | None = None,
    calls: int = 1,
) -> tuple[Outcome, FaultServer]:
    """The last outcome of so many calls, and the server as they left it. With `deltas` they are streamed."""

    async def work() -> tuple[Outcome, FaultServer]:
        async with fault_server(*scripts) as server:
            backend = OpenAIBackend(server.url, KEY, open_transport(keep_alive=True))
            request = Request(body=body or ASKED, upstream="upstream-name", timeout=timeout, max_tokens=77)
            try:
                for _ in range(calls):
                    outcome = await backend.complete(request, None if deltas is None else deltas.append)
            finally:
                await backend.close()
            return outcome, server

    return run(work())


def test_an_answer_is_the_providers_whole_body_and_what_it_cost() -> None:
    outcome = ask(answer(COMPLETION))
    assert outcome == Completion(
        text=MESSAGE["content"], finish_reason="stop", input_tokens=41, output_tokens=5, body=COMPLETION
    )


def test_the_body_passes_as_it_came_but_for_model_stream_and_limit() -> None:
    body = ASKED | {"model": "ours", "stream": True, "stream_options": {"x": 1}, "vendor": {"extra": [1, None, "ü"]}}
    _, server = served(answer(COMPLETION), body=body)
    [asked] = server.asked
    sent = orjson.loads(asked.body)
    assert sent == ASKED | {"model": "upstream-name", "vendor": {"extra": [1, None, "ü"]}, "max_tokens": 77}
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_callers_own_limit_stays(name: str) -> None:
    _, server = served(answer(COMPLETION), body=ASKED | {name: 5})
    sent = orjson.loads(server.asked[0].body)
    assert {key: value for key, value in sent.items() if key.startswith("max")} == {name: 5}


def test_a_streamed_call_asks_for_usage_and_keeps_the_callers_options() -> None:
    script = events(piece(content="x"), piece("stop"))
    _, server = served(script, deltas=[], body=ASKED | {"stream_options": {"mine": 1}})
    sent = orjson.loads(server.asked[0].body)
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
    assert (outcome.text, outcome.input_tokens, outcome.output_tokens) == ("A lantern.", 41, 5)


def test_streamed_tool_calls_are_put_together() -> None:
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
    "no finish reason": (answer({"choices": [{"message": MESSAGE, "finish_reason": None}]}), E.MALFORMED),
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
    "a stream that is done without a finish": (events(piece(content="A lan")), E.MALFORMED),
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
    outcome = ask(script, timeout=0.5 if meant is E.TIMEOUT else 10, deltas=deltas)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant
    assert outcome.detail
    assert outcome.retry_after == (7 if script is FAULTS["a rate limit"][0] else None)


@pytest.mark.parametrize(("script", "meant"), STREAM_FAULTS.values(), ids=STREAM_FAULTS.keys())
def test_a_fault_within_a_stream_is_a_failure_of_its_class(script: Script, meant: E) -> None:
    outcome = ask(script, timeout=0.5 if meant is E.TIMEOUT else 10, deltas=[])
    assert isinstance(outcome, Failure)
    assert outcome.error_class is meant


@pytest.mark.parametrize("deltas", [None, []], ids=["whole", "streamed"])
def test_an_answer_without_end_is_cut_off(deltas: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ANSWER", 2**21)
    outcome = ask(flood, deltas=deltas)
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.detail) == (E.MALFORMED, "the answer is longer than 2 MiB")


def test_a_host_that_nobody_listens_on_is_a_connection_failure() -> None:
    async def work() -> Outcome:
        async with fault_server(reset) as server:
            url = server.url
        backend = open_backend(Backend(url=url, pool="gpu"))
        try:
            return await backend.complete(Request(body=ASKED, upstream="m", timeout=5))
        finally:
            await backend.close()

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.CONNECTION


def test_a_host_without_an_address_was_never_connected_to() -> None:
    async def work() -> None:
        async with open_transport(keep_alive=True) as transport:
            with pytest.raises(httpx.ConnectError):
                await transport.handle_async_request(httpx.Request("POST", "http://nowhere.invalid/"))

    run(work())


def test_a_refusal_that_repeats_the_prompt_is_told_without_it() -> None:
    prompt = ASKED["messages"][0]["content"]
    error = {"message": f"cannot parse '{prompt}' for {KEY}", "type": "invalid_request_error"}
    outcome = ask(answer({"error": error}, 400))
    assert outcome == Failure(error_class=E.BAD_REQUEST, detail="HTTP 400 invalid_request_error")


def test_a_body_that_is_no_json_is_the_callers_fault() -> None:
    outcome = ask(answer(COMPLETION), body=ASKED | {"temperature": 2**70})
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.BAD_REQUEST


def test_a_kept_connection_is_used_again() -> None:
    _, server = served(kept(answer(COMPLETION)), calls=3)
    assert [asked.connection for asked in server.asked] == [0, 0, 0]


def test_a_call_on_a_kept_connection_that_breaks_is_sent_once_more() -> None:
    outcome, server = served(kept(answer(COMPLETION)), reset, answer(COMPLETION), calls=2)
    assert isinstance(outcome, Completion)
    assert [asked.connection for asked in server.asked] == [0, 0, 1]


def test_a_call_on_a_fresh_connection_that_breaks_is_not_sent_again() -> None:
    outcome, server = served(reset)
    assert isinstance(outcome, Failure)
    assert len(server.asked) == 1


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-"])
def test_a_call_that_a_kept_connection_began_to_answer_is_not_sent_again(begun: bytes) -> None:
    outcome, server = served(kept(answer(COMPLETION)), raw(begun), answer(COMPLETION), calls=2)
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, len(server.asked)) == (E.CONNECTION, 2)


def test_a_call_is_sent_again_only_once() -> None:
    sent = []

    def broken(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        raise StaleConnection("closed")

    async def work() -> Outcome:
        backend = open_backend(Backend(url="http://upstream.test", pool="cloud"), httpx.MockTransport(broken))
        return await backend.complete(Request(body=ASKED, upstream="m", timeout=5))

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, len(sent)) == (E.CONNECTION, 2)


def test_any_httpx_transport_will_do() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        assert orjson.loads(request.content)["model"] == "m"
        assert "authorization" not in request.headers
        return httpx.Response(200, json=COMPLETION)

    async def work() -> Outcome:
        backend = open_backend(Backend(url="http://upstream.test/v1", pool="cloud"), httpx.MockTransport(reply))
        return await backend.complete(Request(body=ASKED, upstream="m", timeout=5))

    assert isinstance(run(work()), Completion)


@pytest.mark.parametrize("script", [stall, drip, drip_events], ids=["before headers", "in the body", "in the stream"])
@pytest.mark.parametrize("ending", ["cancelled", "timed out"])
def test_a_call_that_is_given_up_closes_its_socket(script: Script, ending: str) -> None:
    async def work() -> bool:
        async with fault_server(script) as server:
            backend = OpenAIBackend(server.url, KEY, open_transport(keep_alive=True))
            request = Request(body=ASKED, upstream="m", timeout=30 if ending == "cancelled" else 0.2)
            calling = asyncio.ensure_future(backend.complete(request, lambda text: None))
            await server.arrived.wait()
            if ending == "cancelled":
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
            else:
                assert isinstance(await calling, Failure)
            await asyncio.wait_for(server.left.wait(), 5)
            left = server.left.is_set()
            await backend.close()
            return left

    assert run(work())


def test_a_local_engine_gets_a_connection_for_each_call() -> None:
    async def work() -> FaultServer:
        async with fault_server(answer(COMPLETION)) as server:
            backend = open_backend(Backend(url=server.url, pool="gpu", key=SecretStr("")))
            for _ in range(2):
                assert isinstance(await backend.complete(Request(body=ASKED, upstream="m", timeout=5)), Completion)
            await backend.close()
            return server

    server = run(work())
    assert [asked.connection for asked in server.asked] == [0, 1]
    assert {asked.headers["connection"] for asked in server.asked} == {"close"}


@pytest.mark.parametrize(
    ("base", "full"),
    [
        ("http://h:8080", "http://h:8080/v1/chat/completions"),
        ("http://h:8080/v1/", "http://h:8080/v1/chat/completions"),
        ("http://h/llm", "http://h/llm/v1/chat/completions"),
        ("https://h/api/v1", "https://h/api/v1/chat/completions"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions"),
        ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
    ],
)
def test_a_base_url_may_name_its_version_or_not(base: str, full: str) -> None:
    place = address(base, PATH)
    assert str(place.at(place.version + PATH)) == full


def test_a_key_that_no_header_can_carry_is_refused_without_telling_it() -> None:
    with pytest.raises(ValueError, match="copy it again") as refused:
        OpenAIBackend("http://h", "sk-\r\nx", open_transport(keep_alive=True))
    assert "sk-" not in str(refused.value)


def test_a_password_in_a_url_is_refused_without_telling_it() -> None:
    with pytest.raises(ValueError, match="as the key") as refused:
        address("http://me:hunter2@h")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", [f"http://{'a' * 64}", "http://a..b", "http://[::1", "http://h:99999", "http://:80"])
def test_a_url_that_cannot_be_called_is_refused_when_it_is_opened(url: str) -> None:
    with pytest.raises(ValueError, match="check its host and port"):
        address(url)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://192.168.1.2", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_loopback_is_told_by_the_host(url: str, here: bool) -> None:
    assert is_loopback(url) is here
