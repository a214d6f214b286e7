"""An answer over a real socket is taken in whatever wrapping it arrives, requested or not."""

from __future__ import annotations

import json
from collections.abc import Sequence

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import ErrorClass as E
from tests.faults import COMPLETION, Script, answer, piece, raw
from tests.workers.backends.openai_calls import served

TEXT = COMPLETION["choices"][0]["message"]["content"]
PIECES: Sequence[dict[str, object]] = [piece(content=TEXT[:5]), piece(content=TEXT[5:]), piece("stop")]
EVENTS = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in PIECES)
DONE = b"data: [DONE]\n\n"
WHOLE, PRETTY = orjson.dumps(COMPLETION), json.dumps(COMPLETION, indent=2).encode()


def sent(body: bytes, content_type: str | None, status: int = 200) -> Script:
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return raw(f"HTTP/1.1 {status} OK\r\n{kind}Connection: close\r\n\r\n".encode() + body)


WRAPPINGS = {
    "a stream as plain text": sent(EVENTS + DONE, "text/plain"),
    "a JSON sequence": sent(
        b"".join(b"\x1e" + orjson.dumps(event) + b"\n" for event in PIECES), "application/json-seq"
    ),
    "a stream as JSON": sent(EVENTS + DONE, "application/json"),
    "a stream without a type": sent(EVENTS + DONE, None),
    "a stream of another case": sent(EVENTS + DONE, "Text/Event-Stream; charset=utf-8"),
    "a stream under a 201": sent(EVENTS + DONE, "text/event-stream", 201),
    "a stream after blanks": sent(b"\n \n" + EVENTS + DONE, "text/event-stream"),
    "a stream without its empty lines": sent((EVENTS + DONE).replace(b"\n\n", b"\n"), "text/event-stream"),
    "a whole answer as a stream": sent(WHOLE, "text/event-stream"),
    "a whole answer in many lines as a stream": sent(PRETTY, "text/event-stream"),
    "a whole answer as a web page": sent(WHOLE, "text/html"),
    "a whole answer without a type": sent(WHOLE, None),
    "a whole answer after a mark of byte order": sent(b"\xef\xbb\xbf" + WHOLE, "application/json"),
    "a whole answer after blanks": sent(b" \n" * 40 + WHOLE, "application/json"),
    "a whole answer under a 202": answer(COMPLETION, 202),
    "a whole answer in UTF-16": sent(WHOLE.decode().encode("utf-16"), "application/json"),
    "a whole answer in UTF-16 without a mark": sent(WHOLE.decode().encode("utf-16-le"), "application/json"),
    "a whole answer in UTF-32": sent(WHOLE.decode().encode("utf-32-be"), "application/json; charset=utf-32"),
    "a whole answer with a null byte behind it": sent(WHOLE + b"\0", "application/json"),
    "a whole answer with a brace behind it": sent(WHOLE + b"\n}", "application/json"),
    "a whole answer with a comment behind it": sent(WHOLE + b"<!-- cached -->", "application/json"),
    "a whole answer in a list": sent(b"[" + WHOLE + b"]", "application/json"),
    "a whole answer beside an error of success": sent(
        WHOLE[:-1] + b', "error": {"code": 200, "message": "success"}}', "application/json"
    ),
    "a whole answer whose length is named too large": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n" + WHOLE
    ),
    "a whole answer without its last chunk": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n" % (len(WHOLE), WHOLE)
    ),
    "a head with a long policy": raw(
        b"HTTP/1.1 200 OK\r\nContent-Security-Policy: " + b"a" * 20_000 + b"\r\nConnection: close\r\n\r\n" + WHOLE
    ),
    "a stream with a double mark": sent((EVENTS + DONE).replace(b"data: ", b"data: data: "), "text/event-stream"),
    "a stream of messages": sent(
        b"".join(
            b'data: {"choices":[{"message":{"content":"%b"}}]}\n\n' % part.encode() for part in (TEXT[:5], TEXT[5:])
        )
        + DONE,
        "text/event-stream",
    ),
    "a stream of messages, each with all of the text so far": sent(
        b"".join(b'data: {"choices":[{"message":{"content":"%b"}}]}\n\n' % part.encode() for part in (TEXT[:5], TEXT))
        + DONE,
        "text/event-stream",
    ),
    "a stream that ends with the whole message": sent(
        EVENTS + b"data: " + WHOLE + b"\n\n" + DONE,
        "text/event-stream",
    ),
    "lines of JSON": sent(b"\n".join(orjson.dumps(event) for event in PIECES) + b"\n", "application/x-ndjson"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("script", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_an_answer_in_any_wrapping_is_taken(script: Script, streamed: bool) -> None:
    deltas: list[str] = []
    outcome, server = served(script, deltas=deltas if streamed else None)
    assert isinstance(outcome, Completion), outcome
    assert (outcome.text, "".join(deltas)) == (TEXT, TEXT if streamed else "")
    assert len(server.calls_received) == 1


CUT = {
    "a stream that just ends": sent(EVENTS[: EVENTS.index(b"data", 9)], "text/plain"),
    "a stream that ends within an event": sent(EVENTS[:-30], None),
    "half a whole answer": sent(WHOLE[:-5], "application/json"),
    "half a whole answer whose length is named": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n" + WHOLE[:-5]
    ),
    "two objects in a row": sent(WHOLE + WHOLE, "application/json"),
    "a whole answer before much else": sent(WHOLE + b"x" * 5000, "application/json"),
    "nothing": sent(b"", "text/event-stream"),
    "blanks": sent(b"  \n", "application/json"),
    "a page": sent(b"<html>\n<h1>Welcome</h1>\n</html>", "text/html"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("script", CUT.values(), ids=CUT.keys())
def test_half_an_answer_is_none(script: Script, streamed: bool) -> None:
    outcome, _ = served(script, deltas=[] if streamed else None)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.MALFORMED
