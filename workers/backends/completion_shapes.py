"""Puts what servers and gateways send in place of a `chat.completion` into its form. Pure.

A body of the protocol stays as it is. Any other shape is read as the client of its provider reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.exact_json import dumps, loads
from openfall.workers.backends.google_answer import with_choices

_WRAPPERS = ("data", "result", "output", "response")
"""Where gateways (Cloudflare, DashScope's own API, one-api) have the completion."""

_OF_A_FUNCTION = ("name", "arguments")


def unwrapped(document: Any) -> Any:
    """The completion inside a wrapper, or inside a text that is its JSON, with a list of choices."""
    if isinstance(document, str) and document.lstrip().startswith("{"):
        try:
            document = loads(document)
        except ValueError:
            return document
    if not isinstance(document, dict):
        return document
    document = with_choices(document)
    inner = next((inner for name in _WRAPPERS if _has_choices(inner := document.get(name))), None)
    if inner is not None and not _has_choices(document):
        outer = {key: value for key, value in document.items() if key in ("id", "model", "created", "usage")}
        document = {**outer, **inner}
    return {**document, "choices": choices_of(document["choices"])} if _has_choices(document) else document


def _has_choices(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("choices"), list | dict) and bool(value["choices"])


def choices_of(choices: Any) -> Any:
    """The list of choices. Some servers send the only one without a list, or number them in an object."""
    if not isinstance(choices, dict):
        return choices
    numbered = all(key.isdigit() for key in choices)
    return list(choices.values()) if numbered else [choices]


def formed_message(message: Any) -> Any:
    """A message with its role, with a content of texts or parts, and with calls in the form of the protocol."""
    if isinstance(message, str):
        return {"role": "assistant", "content": message}
    if not isinstance(message, dict):
        return message
    formed = {"role": "assistant"} | {key: value for key, value in message.items() if key != "role" or value}
    formed["content"] = formed_content(message.get("content"))
    calls = message.get("tool_calls")
    if calls:
        formed["tool_calls"] = [formed_call(call) for call in calls_of(calls) if isinstance(call, dict)]
    return formed


def formed_content(content: Any) -> Any:
    """A content: a text or a list of parts stays. A part alone, a list of texts, a number and any other JSON become
    texts."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(content) if content and all(isinstance(part, str) for part in content) else content
    if isinstance(content, dict) and ("type" in content or "text" in content):
        return [content]
    return dumps(content).decode()


def calls_of(calls: Any) -> list[Any]:
    """The list of tool calls. Some servers send the only one without a list."""
    return [calls] if isinstance(calls, dict) else calls if isinstance(calls, list) else []


def formed_call(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call with its type, its function and the text of its arguments."""
    formed = with_function(call)
    function = formed.get("function")
    if not isinstance(function, dict):
        return formed
    formed = {**formed, "type": formed.get("type") or "function"}
    return {**formed, "function": {**function, "arguments": formed_arguments(function.get("arguments"))}}


def with_function(call: dict[str, Any]) -> dict[str, Any]:
    """A call, or a piece of one, whose name and arguments stand in `function`."""
    if "function" in call or not any(isinstance(call.get(name), str | dict) for name in _OF_A_FUNCTION):
        return call
    function = {name: call[name] for name in _OF_A_FUNCTION if name in call}
    return {**{key: value for key, value in call.items() if key not in _OF_A_FUNCTION}, "function": function}


def formed_arguments(value: Any) -> str:
    """The text of the arguments of a whole call. Some servers send the object itself, or the text twice encoded."""
    if not isinstance(value, str):
        return dumps(value).decode() if isinstance(value, dict) and value else "{}"
    if value.startswith('"'):
        try:
            inner = loads(value)
        except ValueError:
            return value
        return inner if isinstance(inner, str) and inner.lstrip().startswith("{") else value
    return value
