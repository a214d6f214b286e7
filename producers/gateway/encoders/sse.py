"""Server-sent events, as the SDKs of OpenAI and Anthropic read them.

No `id:` and no `retry:`: openai-python takes the comment after either for an empty event, and fails. No empty `data:`.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

DONE = b"data: [DONE]\n\n"

_SEPARATORS = {"\u2028".encode(): rb"\u2028", "\u2029".encode(): rb"\u2029", "\x85".encode(): rb"\u0085"}
"""The signs beyond ASCII at which `str.splitlines`, and with it the lines of httpx, end a line."""


def one_line(body: Any) -> bytes:
    """A body as JSON that is one line for every reader."""
    packed = to_json(body)
    if not packed.isascii():
        for sign, escape in _SEPARATORS.items():
            packed = packed.replace(sign, escape)
    return packed


def data(body: Any) -> bytes:
    """An event without a name."""
    return b"data: " + one_line(body) + b"\n\n"


def named(name: str, body: Any) -> bytes:
    """An event with a name."""
    return b"event: " + name.encode() + b"\ndata: " + one_line(body) + b"\n\n"


def comment(text: str) -> bytes:
    """A line that every SDK skips. It keeps a connection open."""
    return b": " + text.replace("\n", " ").encode() + b"\n\n"
