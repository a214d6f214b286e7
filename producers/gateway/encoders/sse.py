"""Server-sent events, as the SDKs of OpenAI and Anthropic read them.

No `id:` and no `retry:`: openai-python takes the comment after either for an empty event, and fails. No empty `data:`.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

DONE = b"data: [DONE]\n\n"


def data(body: Any) -> bytes:
    """An event without a name."""
    return b"data: " + to_json(body) + b"\n\n"


def named(name: str, body: Any) -> bytes:
    """An event with a name."""
    return b"event: " + name.encode() + b"\ndata: " + to_json(body) + b"\n\n"


def comment(text: str) -> bytes:
    """A line that every SDK skips. It keeps a connection open."""
    return b": " + text.replace("\n", " ").encode() + b"\n\n"
