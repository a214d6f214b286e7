"""An answer counts once it is whole, whatever its server sends behind it, and also if it never ends the response."""

from __future__ import annotations

import asyncio
import gzip

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends import event_adder, response_reader
from tests.faults import COMPLETION, LINGERING, kept, raw
from tests.workers.backends.openai_calls import REQUEST_BODY, ask, served

WHOLE = orjson.dumps(COMPLETION)
TEXT = COMPLETION["choices"][0]["message"]["content"]
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
OPEN = b"\r\n"
LONGER = b"Content-Length: 100000\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (STREAM_HEAD + OPEN + EVENTS, "Hello"),
        (STREAM_HEAD + CHUNKED + chunk(EVENTS), "Hello"),
        (STREAM_HEAD + CHUNKED + chunk(EVENTS) + b"0\r\n", "Hello"),
        (STREAM_HEAD + LONGER + EVENTS, "Hello"),
        (JSON_HEAD + OPEN + WHOLE, TEXT),
        (JSON_HEAD + LONGER + WHOLE, TEXT),
        (JSON_HEAD + CHUNKED + chunk(WHOLE), TEXT),
        (JSON_HEAD + CHUNKED + chunk(WHOLE) + b"0\r\nX: a", TEXT),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n" + WHOLE, TEXT),
        (JSON_HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(WHOLE)[:-4], TEXT),
    ],
)
def test_an_answer_that_is_whole_does_not_wait_for_the_end_of_its_response(response: bytes, text: str) -> None:
    outcome = ask(kept(raw(response)))
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == text


FINISHED = EVENTS.replace(b"data: [DONE]\n\n", b"")
NO_REASON = FINISHED.replace(b'"stop"', b'"null"')
WITHOUT_REASON = EVENTS[: EVENTS.index(b',"finish')] + b"}]}\n\n"
MESSAGE = (
    b'data: {"type":"message_start","message":{"content":[]}}\n\n'
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hello"}}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n'
)
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'


@pytest.fixture
def short_quiet_times(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(response_reader, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(event_adder, "WAIT_FOR_END_SECONDS", 0.2)
    return 0.05


@pytest.mark.parametrize("body", [WHOLE[:-1], b"{} {}", b'{"choices": ', NO_REASON, WITHOUT_REASON])
def test_an_answer_that_is_not_whole_waits_for_its_rest(body: bytes, short_quiet_times: float) -> None:
    outcome = ask(kept(raw(JSON_HEAD + OPEN + body)), timeout=0.6)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.TIMEOUT


@pytest.mark.parametrize("events", [FINISHED, FINISHED + USAGE, FINISHED + b": ping\n\n", FINISHED * 2, MESSAGE])
def test_a_stream_whose_answer_is_whole_ends_without_its_last_event(events: bytes, short_quiet_times: float) -> None:
    deltas: list[str] = []
    outcome, _ = served(kept(raw(STREAM_HEAD + OPEN + events)), deltas=deltas)
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == "".join(deltas) == ("Hello" if events != FINISHED * 2 else "HelloHello")


def test_comments_keep_no_stream_open_whose_answer_is_whole(short_quiet_times: float) -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + OPEN + FINISHED)
        while True:
            writer.write(b": keep-alive\n\n")
            await writer.drain()
            await asyncio.sleep(short_quiet_times / 5)

    LINGERING.add(script)
    outcome = ask(script)
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == "Hello"


def test_the_usage_may_follow_the_finish_reason_after_a_while(
    short_quiet_times: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_adder, "WAIT_FOR_END_SECONDS", 60.0)

    async def script(writer: asyncio.StreamWriter) -> None:
        for part in (STREAM_HEAD + OPEN + FINISHED, b": ping\n\n", USAGE, b"data: [DONE]\n\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(1.5 * short_quiet_times)
        await asyncio.Event().wait()

    LINGERING.add(script)
    outcome = ask(script)
    assert isinstance(outcome, Completion), outcome
    assert outcome.usage.output_tokens == 2


def test_a_stall_of_the_worker_is_no_silence_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + OPEN + FINISHED)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(USAGE + b"data: [DONE]\n\n")
        loop = asyncio.get_running_loop()
        now, stall = loop.time, 1.5 * event_adder.WAIT_FOR_END_SECONDS
        monkeypatch.setattr(loop, "time", lambda: now() + stall)
        await asyncio.Event().wait()

    LINGERING.add(script)
    outcome = ask(script)
    assert isinstance(outcome, Completion), outcome
    assert outcome.usage.output_tokens == 2


def test_a_stream_of_several_answers_waits_for_each(short_quiet_times: float) -> None:
    outcome = ask(kept(raw(STREAM_HEAD + OPEN + FINISHED)), body={**REQUEST_BODY, "n": 2}, timeout=0.6)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.TIMEOUT


def test_a_refusal_that_never_ends_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_reader, "REFUSAL_SECONDS", 0.1)
    body = b'{"error":{"message":"no such key"}}'
    outcome = ask(kept(raw(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000\r\n\r\n" + body)))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.AUTH


@pytest.mark.parametrize(
    "behind",
    [b"\r\n\r\n", b"and more", b"\0\0", b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE, b"HTTP/1.1 500 X\r\n\r\n"],
)
def test_bytes_behind_an_answer_take_nothing_back(behind: bytes) -> None:
    outcome = ask(raw(JSON_HEAD + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE + behind))
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == TEXT


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3])
@pytest.mark.parametrize("body", [b'{"error":"slow down"}', b"\x00\xff" * 9])
def test_a_refusal_counts_although_its_body_does_not_fit_its_length(interim: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    outcome = ask(raw(interim + head + body))
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.retry_after) == (E.RATE_LIMITED, 7.0)


@pytest.mark.parametrize("trailers", [b"X: a\r\n" * 10_000, b"X: " + b"a" * 100_000, b"\0\r\n\r\n"])
def test_trailers_that_are_no_http_take_no_answer_back(trailers: bytes) -> None:
    outcome = ask(raw(JSON_HEAD + CHUNKED + chunk(WHOLE) + b"0\r\n" + trailers))
    assert isinstance(outcome, Completion), outcome
    assert outcome.text == TEXT
