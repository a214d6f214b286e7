"""The answers of the mock upstream: chat completions in the shape of OpenAI's API, whole and streamed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import orjson

MARKER_LENGTH = 200
"""Characters of a marker that are kept: enough for an id, short of a whole prompt."""

_ANSWER = (
    b'{"id":"chatcmpl-%d","object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,"message":'
    b'{"role":"assistant","content":%b,"refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":21,"completion_tokens":9,"total_tokens":30},"system_fingerprint":"fp_mock"}'
)
_CHUNK = (
    b'{"id":"chatcmpl-%d","object":"chat.completion.chunk","created":%d,"model":%b,"system_fingerprint":"fp_mock",'
    b'"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}'
)
_USAGE = (
    b'{"id":"chatcmpl-%d","object":"chat.completion.chunk","created":%d,"model":%b,"system_fingerprint":"fp_mock",'
    b'"choices":[],"usage":{"prompt_tokens":21,"completion_tokens":9,"total_tokens":30}}'
)


@dataclass(slots=True)
class Call:
    """One completion being answered."""

    number: int
    marker: str
    model: bytes
    stream: bool
    usage: bool
    close: bool

    def answer(self) -> bytes:
        """The whole answer of a call that does not stream."""
        return _ANSWER % (self.number, int(time.time()), self.model, orjson.dumps(self.text))

    @property
    def text(self) -> str:
        """An answer that names its job, so that a mix-up shows."""
        return f"This is the answer to {self.marker}"

    def chunks(self) -> list[bytes]:
        """The server-sent events of a call that streams: role, words, finish, usage if requested, `[DONE]`."""
        created = int(time.time())
        words = self.text.split(" ")
        pieces = [words[0], *(f" {word}" for word in words[1:])]
        deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces), {}]
        chunks = [
            _CHUNK % (self.number, created, self.model, orjson.dumps(delta), b'"stop"' if not delta else b"null")
            for delta in deltas
        ]
        if self.usage:
            chunks.append(_USAGE % (self.number, created, self.model))
        return [b"data: %b\n\n" % chunk for chunk in [*chunks, b"[DONE]"]]


def read_call(number: int, request_body: dict[str, Any], close: bool) -> Call:
    """The call that a request body describes; LookupError, TypeError or AttributeError if it has another shape."""
    content = request_body["messages"][-1]["content"]
    marker = (request_body.get("metadata") or {}).get("job") or content
    return Call(
        number=number,
        marker=str(marker)[:MARKER_LENGTH],
        model=orjson.dumps(request_body["model"]),
        stream=bool(request_body.get("stream")),
        usage=bool((request_body.get("stream_options") or {}).get("include_usage")),
        close=close,
    )
