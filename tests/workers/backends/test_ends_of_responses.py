"""An answer counts once it is whole, whatever its server sends behind it, and also if it never ends the response."""

from __future__ import annotations

import gzip

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends import response_reader
from tests.faults import COMPLETION, kept, raw
from tests.workers.backends.openai_calls import ask

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


@pytest.mark.parametrize("body", [WHOLE[:-1], b"{} {}", b'{"choices": ', EVENTS.replace(b"data: [DONE]\n\n", b"")])
def test_an_answer_that_is_not_whole_waits_for_its_rest(body: bytes) -> None:
    outcome = ask(kept(raw(JSON_HEAD + OPEN + body)), timeout=1.2)
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
