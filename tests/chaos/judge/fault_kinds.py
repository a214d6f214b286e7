"""The ways in which an upstream can be broken, and how each must be recorded."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import Enum
from typing import Any

GARBAGE = random.Random(7).randbytes(400).replace(b"\n", b"?")
WAIT = 2
"""Seconds that `Retry-After` asks for."""


class After(Enum):
    """What happens to the connection after the bytes of an answer."""

    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"  # nothing more, for as long as the caller stays
    DRIP = "drip"  # the last piece again and again, so that no single read ever times out


class Keeps(Enum):
    """What protects callers from an upstream that is broken in this way."""

    RUN = "run"  # its breaker, after so many failures in a row
    TRIP = "trip"  # its breaker, at the first failure
    KEY = "key"  # the breaker of its key, at the first failure
    COOLDOWN = "cooldown"  # no breaker: callers wait for as long as it requested


@dataclass(frozen=True)
class Kind:
    """One way to be broken. `whole` answers a plain call and `streamed` one that streams, as raw bytes.

    `errors` are the error classes that an attempt may record. `listens` False: its port refuses connections.
    """

    name: str
    errors: frozenset[str]
    whole: bytes = b""
    streamed: bytes = b""
    after: After = After.CLOSE
    keeps: Keeps = Keeps.RUN
    wait: float = 0.0
    listens: bool = True


def head(status: str, length: int | None = None, **headers: str) -> bytes:
    """A response's head. `retry_after="2"` is a header; a length of None: the body ends with the connection."""
    fields = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if length is not None:
        fields["Content-Length"] = str(length)
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items()), "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: Any, status: str = "200 OK", **headers: str) -> bytes:
    """A whole response; `body` as JSON, or as it is when bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, len(data), **headers) + data


def completion(text: str, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    } | more


def piece(text: str | None, finish: str | None = None) -> dict[str, Any]:
    """One chunk of a stream."""
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def events(*chunks: Any, done: bool = False) -> bytes:
    """Chunks as server-sent events; bytes as they are."""
    rows = [chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() for chunk in chunks]
    return b"".join(b"data: " + row + b"\n\n" for row in [*rows, *([b"[DONE]"] if done else [])])


STREAM = head("200 OK", Content_Type="text/event-stream")
CHUNKED = head("200 OK", Content_Type="text/event-stream", Transfer_Encoding="chunked")
_HALF = json.dumps(completion("half of an answer that")).encode()[:90]
_BROKEN = {"error": {"message": "The server had an error while processing your request", "type": "server_error"}}
_NO_MODEL = {"error": {"message": "The model `m` does not exist", "type": "invalid_request_error",
                       "code": "model_not_found"}}  # fmt: skip
_NO_KEY = {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error",
                     "code": "invalid_api_key"}}  # fmt: skip
_TOO_MANY = {"error": {"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"}}
_BUSY = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
_PAGE = (
    b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
)


def _same(name: str, error: str, response: bytes, **more: Any) -> Kind:
    """Broken the same way whether it streams or not."""
    return Kind(name, frozenset({error}), response, response, **more)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _same("429-retry-after", "rate_limited", answer(_TOO_MANY, "429 Too Many Requests", Retry_After=str(WAIT)),
              keeps=Keeps.COOLDOWN, wait=WAIT),
        _same("429", "rate_limited", answer(_TOO_MANY, "429 Too Many Requests"), keeps=Keeps.COOLDOWN, wait=5.0),
        _same("529", "overloaded", answer(_BUSY, "529 Overloaded")),
        _same("500", "overloaded", answer(_BROKEN, "500 Internal Server Error")),
        _same("502-html", "connection", answer(_PAGE, "502 Bad Gateway", Content_Type="text/html")),
        _same("reset", "connection", b"", after=After.RESET),
        _same("refused", "connection", b"", listens=False),
        _same("truncated-body", "malformed", head("200 OK", 4 * len(_HALF)) + _HALF),
        Kind("truncated-stream", frozenset({"malformed"}),
             head("200 OK", Transfer_Encoding="chunked") + _chunk(_HALF),
             CHUNKED + _chunk(events(piece("half of"), piece(" an")))),
        _same("stall", "timeout", b"", after=After.STALL),
        Kind("slow-drip", frozenset({"timeout"}), head("200 OK", 10**6) + b" ", STREAM + events(piece("la ")),
             after=After.DRIP),
        Kind("error-in-200", frozenset({"overloaded"}), answer(_BROKEN), STREAM + events(_BROKEN)),
        Kind("error-mid-stream", frozenset({"overloaded"}), answer(completion("half of", None) | _BROKEN),
             STREAM + events(piece("half of"), _BROKEN, done=True)),
        _same("404-model", "not_installed", answer(_NO_MODEL, "404 Not Found"), keeps=Keeps.TRIP),
        _same("401", "auth", answer(_NO_KEY, "401 Unauthorized"), keeps=Keeps.KEY),
        Kind("garbage", frozenset({"malformed"}), answer(GARBAGE), STREAM + events(GARBAGE)),
    )
}  # fmt: skip
