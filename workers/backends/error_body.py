"""Finds the error in a body: the places in which providers, gateways and servers write it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.exact_json import loads

MAX_DEPTH = 5
"""How deep an error is looked for in one that a gateway wrapped."""

SUCCESS_WORDS = ("ok", "success", "succeeded", "no error")

_PARTS_OF_ANSWERS = frozenset({
    "choices", "content", "message", "response", "output", "candidates", "type", "usage", "data", "embeddings", "body",
})  # fmt: skip
"""What an answer or an event of a stream has in each dialect, and an exception of Bedrock's does not."""


def find_error(document: Any) -> Any:
    """The value of `error` in a body, or in the only element of a list; None if there is none.

    MiniMax writes its errors into `base_resp`, Cloudflare into `errors`, Groq the reason why a stream has stopped early
    into `x_groq`, some gateways a code and a message beside a mark of failure. AWS names the error of a stream by its
    key: `{"throttlingException": {"message": "..."}}`.
    """
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None
    groq = document.get("x_groq")
    error = document.get("error") or _first(document.get("errors")) or _base_error(document.get("base_resp"))
    error = error or (groq.get("error") if isinstance(groq, dict) else None) or _exception(document)
    if error is None and _is_marked(document):
        return document
    error = _innermost(error[0] if isinstance(error, list) and error else error)
    return error if not isinstance(error, dict) or not _is_success(error) else None


def _is_marked(document: dict[str, Any]) -> bool:
    """Whether a body without an answer says by a mark of its own that it is an error."""
    is_error = "error" in (document.get("object"), document.get("type"))
    return is_error or (document.get("success") is False and "choices" not in document)


def _innermost(error: Any) -> Any:
    """An error that a gateway wrapped into one of its own: as its `error`, or as the JSON of its words."""
    for _ in range(MAX_DEPTH):
        words = error.get("message") if isinstance(error, dict) else error
        text = words.strip() if isinstance(words, str) else ""
        inner = read_json(text.encode("utf-8", "replace")) if text[:1] in ("{", "[") else error
        inner = inner[0] if isinstance(inner, list) and inner else inner
        wrapped = inner.get("error") if isinstance(inner, dict) else None
        if not isinstance(wrapped, dict):
            return error
        error = wrapped
    return error


def _is_success(error: dict[str, Any]) -> bool:
    """Whether an error says that there is none: with no values, or with a code and a word of success."""
    if not any(error.values()):
        return True
    return str(error.get("code")) in ("0", "200") and str(error.get("message") or "ok").lower() in SUCCESS_WORDS


def _base_error(value: Any) -> dict[str, Any] | None:
    """MiniMax's `{"status_code": 1008, "status_msg": "insufficient balance"}`. A status of 0 is success."""
    code = value.get("status_code") if isinstance(value, dict) else None
    return {"code": str(code), "message": value.get("status_msg")} if code else None


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None


def _exception(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error of an event of Bedrock's streams. Its code is its key."""
    if not _PARTS_OF_ANSWERS.isdisjoint(document):
        return None
    for key, value in document.items():
        if key.endswith("Exception") and value:
            return {"message": value} | (value if isinstance(value, dict) else {}) | {"code": key}
    return None


def read_json(body: bytes) -> Any:
    """The JSON of a body; None: it is none."""
    try:
        return loads(body)
    except ValueError:
        return None
