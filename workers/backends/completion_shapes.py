"""Puts what servers and gateways send in place of a `chat.completion` into its form. Pure.

A body of the protocol stays as it is. Any other shape is read as the client of its provider reads it.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.exact_json import dumps, loads
from openfall.workers.backends.google_answer import with_choices
from openfall.workers.backends.parsing import TEXT_PARTS

_WRAPPERS = ("data", "result", "output", "response", "body")
"""Where gateways (Cloudflare, DashScope's own API, one-api, AWS's) have the completion."""

_ARGUMENTS = ("arguments", "parameters", "input", "args")
"""Where servers have the arguments of a call, which Llama and Cohere name `parameters`."""
_OF_A_FUNCTION = ("name", *_ARGUMENTS)

BESIDE = ("tool_calls", "function_call", "reasoning_content")
"""What a few servers write beside the message, or the delta, of a choice."""

_FENCE = re.compile(r"\s*```\w*\s*(\{.*\})\s*```\s*", re.DOTALL)
_EMPTY_OBJECTS = re.compile(r"\A(?:\{\}\s*)+")
_MAX_LITERAL = 64 * 2**10
"""The longest text that is read as Python."""


def unwrapped(document: Any) -> Any:
    """The completion inside a wrapper, or inside a text that is its JSON, with a list of choices."""
    document = _of_text(document)
    if not isinstance(document, dict):
        return document
    document = with_choices(document)
    inner = next(filter(_has_choices, inner_objects(document)), None)
    if inner is not None and not _has_choices(document):
        outer = {key: value for key, value in document.items() if key in ("id", "model", "created", "usage")}
        document = {**outer, **inner}
    return {**document, "choices": choices_of(document["choices"])} if _has_choices(document) else document


def inner_objects(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects inside the wrappers of a document. AWS's gateway has the text of the JSON as `body`; a text in any
    other wrapper is that of a model."""
    values = (document.get(name) for name in _WRAPPERS)
    return (value for value in (*values, _of_text(document.get("body"))) if isinstance(value, dict))


def _of_text(value: Any) -> Any:
    """The value of a text that is the JSON of an object. Any other value stays."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return loads(value)
    except ValueError:
        return value


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
    formed["content"] = content_of(message)
    calls = message.get("tool_calls")
    if isinstance(call := message.get("function_call"), dict):
        formed["function_call"] = formed_function(call)
    if calls:
        whole = [formed_call(call) for call in calls_of(calls) if isinstance(call, dict)]
        formed["tool_calls"] = [
            call for call in whole if not _is_nameless(call) or call["function"]["arguments"] != "{}"
        ]
    return formed


def with_fields_beside(choice: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """The message or the delta of a choice with what stands beside it. Its own usage is that of the answer."""
    beside = {key: value for key in BESIDE if (value := choice.get(key)) and not inner.get(key)}
    own = {key: value for key, value in inner.items() if key != "usage"} if "usage" in inner else inner
    return {**own, **beside} if beside else own


def rest_of_message(known: dict[str, Any], message: Any) -> dict[str, Any]:
    """What a message adds to the pieces before it. Some servers end a stream with the whole message, or send nothing
    else; some send the message so far in each piece, and some each piece as a message."""
    if not isinstance(message, dict):
        return {}
    return {key: rest for key, value in message.items() if (rest := _rest_of(known.get(key), value))}


def _rest_of(known: Any, value: Any) -> Any:
    """What a value adds to the one before it."""
    if not known:
        return value
    if not isinstance(known, str) or not isinstance(value, str) or value.strip() in known:
        return None
    return value.removeprefix(known)


def content_of(message: Mapping[str, Any]) -> Any:
    """The content of a message, or of a piece of one, in its form. A few servers name it as a part is named."""
    content, parts = message.get("content"), message.get("parts")
    if content is None:
        content = text if isinstance(text := message.get("text"), str) else parts if isinstance(parts, list) else None
    return formed_content(content)


def formed_content(content: Any) -> Any:
    """A content: a text or a list of parts stays. A part alone, a list of texts, a number and any other JSON become
    texts."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        is_texts = content and all(isinstance(part, str) for part in content)
        return "".join(content) if is_texts else [_formed_part(part) for part in content]
    if isinstance(content, dict) and ("type" in content or "text" in content):
        return [_formed_part(content)]
    return dumps(content).decode()


def is_no_piece(content: Any) -> bool:
    """Whether the content of a piece is none: an empty object or `false`, which stand for null at some servers."""
    return content is False or content == {}


def _formed_part(part: Any) -> Any:
    """A part of a content with its text, which some servers write as `content` or as an object with a `value`."""
    if not isinstance(part, dict) or part.get("type", "text") not in TEXT_PARTS:
        return part
    text = part.get("text", part.get("content"))
    text = text.get("value") if isinstance(text, dict) else text
    return {**part, "text": text} if isinstance(text, str) else part


def is_refused(content: Any) -> bool:
    """Whether a content has a part that is a refusal."""
    return isinstance(content, list) and any(isinstance(part, dict) and part.get("refusal") for part in content)


def calls_of(calls: Any) -> list[Any]:
    """The list of tool calls. Some servers send the only one without a list, or the JSON of the list."""
    if isinstance(calls, str):
        try:
            calls = loads(calls)
        except ValueError:
            return []
    return [calls] if isinstance(calls, dict) else calls if isinstance(calls, list) else []


def formed_call(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call with its type, its function and the text of its arguments."""
    formed = with_function(call)
    function = formed.get("function")
    if not isinstance(function, dict):
        return formed
    return {**formed, "type": formed.get("type") or "function", "function": formed_function(function)}


def _is_nameless(call: dict[str, Any]) -> bool:
    """Whether a call is one of a function without a name. Some servers send such a call without arguments beside, or in
    place of, the others."""
    function = call.get("function")
    return isinstance(function, dict) and not function.get("name")


def formed_function(function: dict[str, Any]) -> dict[str, Any]:
    """The function of a call with the text of its arguments."""
    arguments = formed_arguments(arguments_of(function))
    return {**{key: value for key, value in function.items() if key not in _ARGUMENTS}, "arguments": arguments}


def arguments_of(function: Mapping[str, Any]) -> Any:
    """The arguments of a function, or of a piece of it, under the names that servers use."""
    return next((value for key in _ARGUMENTS if (value := function.get(key)) not in (None, "")), None)


def with_function(call: dict[str, Any]) -> dict[str, Any]:
    """A call, or a piece of one, whose name and arguments stand in `function`."""
    if "function" in call or not any(isinstance(call.get(name), str | dict) for name in _OF_A_FUNCTION):
        return call
    function = {name: call[name] for name in _OF_A_FUNCTION if name in call}
    return {**{key: value for key, value in call.items() if key not in _OF_A_FUNCTION}, "function": function}


def formed_arguments(value: Any) -> str:
    """The text of the arguments of a whole call. Some servers send the object itself, the text twice encoded, in a
    fence, behind an empty object, or as Python writes a dict. Arguments that are none are empty ones."""
    if not isinstance(value, str):
        return dumps(value).decode() if value else "{}"
    text = value.strip()
    if text in ("", "null"):
        return "{}"
    if match := _FENCE.fullmatch(text):
        text = match[1]
    if (rest := _EMPTY_OBJECTS.sub("", text)) != text:
        return formed_arguments(rest) if rest else "{}"
    try:
        inner = loads(text)
    except ValueError:
        return _of_python(text) or value
    if isinstance(inner, str):
        return inner if inner.lstrip().startswith("{") else value
    return value if text == value.strip() else text


def _of_python(text: str) -> str | None:
    """The JSON of a dict as Python writes it; None: the text is none."""
    if len(text) > _MAX_LITERAL or not text.startswith("{"):
        return None
    try:
        inner = literal_eval(text)
        return dumps(inner).decode() if isinstance(inner, dict) else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
