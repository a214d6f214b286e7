"""The turns of a conversation in Anthropic's dialect as OpenAI's messages. Pure.

Thoughts of earlier answers are left out: OpenAI's dialect has no place for them in a request, and strict servers refuse
what they do not know. A tool's failure is told in words, an image in a tool's result as the user's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import (
    json_text,
    kind,
    listed,
    mapping,
    string,
    unknown,
)
from openfall.workers.backends.translate.media import document_parts, image_part
from openfall.workers.backends.translate.refusals import Untranslatable

Part = dict[str, Any]
FAILED = "The tool failed. "
"""What stands before a result that Anthropic's dialect marks as an error."""

_THOUGHTS = ("thinking", "redacted_thinking")


def system_message(system: Any) -> list[dict[str, Any]]:
    """The system's text as the first message; its blocks are paragraphs of it."""
    text = system if isinstance(system, str) else "\n\n".join(_texts(system, "system"))
    return [{"role": "system", "content": text}] if text else []


def messages(turns: Any) -> Iterator[dict[str, Any]]:
    """The messages that the turns are: the results of tools, and what the user adds, are messages of their own."""
    for turn, place in listed(turns, "messages"):
        content = turn.get("content")
        match string(turn.get("role"), f"{place}.role"):
            case "system":
                yield from system_message(content)
            case "assistant":
                yield _assistant(content, f"{place}.content")
            case "user" if isinstance(content, str):
                yield {"role": "user", "content": content}
            case "user":
                yield from _user(content, f"{place}.content")
            case other:
                raise unknown("messages of the role", other)


def _texts(content: Any, place: str) -> Iterator[str]:
    for block, where in listed(content, place):
        if kind(block, where) != "text":
            raise Untranslatable(f"{place} of anything but text")
        yield string(block.get("text"), f"{where}.text")


def _assistant(content: Any, place: str) -> dict[str, Any]:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts, calls = [], []
    for block, where in listed(content, place):
        match kind(block, where):
            case "text":
                texts.append(string(block.get("text"), f"{where}.text"))
            case "tool_use":
                calls.append(_call(block, where))
            case named if named not in _THOUGHTS:
                raise unknown("content of the type", named)
    text = "".join(texts)
    if calls:
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": "assistant", "content": text}


def _call(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    given = mapping(block.get("input"), f"{place}.input")
    function = {"name": string(block.get("name"), f"{place}.name"), "arguments": json_text(given, f"{place}.input")}
    return {"id": string(block.get("id"), f"{place}.id"), "type": "function", "function": function}


def _user(content: Any, place: str) -> Iterator[dict[str, Any]]:
    """The results first: they must follow the calls. Then what else the turn says."""
    parts: list[Part] = []
    for block, where in listed(content, place):
        if kind(block, where) == "tool_result":
            result, more = _result(block, where)
            yield result
            parts += more
        else:
            parts += _parts(block, where)
    if parts:
        yield {"role": "user", "content": _brief(parts)}


def _brief(parts: list[Part]) -> str | list[Part]:
    """One text is told as itself."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def _parts(block: Mapping[str, Any], place: str) -> list[Part]:
    match kind(block, place):
        case "text":
            return [{"type": "text", "text": string(block.get("text"), f"{place}.text")}]
        case "image":
            return [image_part(block, place)]
        case "document":
            match block.get("source"):
                case {"type": "content", "content": str(told)}:
                    return [{"type": "text", "text": told}]
                case {"type": "content", "content": blocks}:
                    return _all_parts(blocks, f"{place}.source.content")
            return document_parts(block, place)
        case "search_result":
            head = "\n".join(string(block.get(key), f"{place}.{key}") for key in ("title", "source"))
            return [{"type": "text", "text": head}, *_all_parts(block.get("content"), f"{place}.content")]
        case other:
            raise unknown("content of the type", other)


def _all_parts(blocks: Any, place: str) -> list[Part]:
    return [part for block, where in listed(blocks, place) for part in _parts(block, where)]


def _result(block: Mapping[str, Any], place: str) -> tuple[dict[str, Any], list[Part]]:
    """The message of a result, and the parts of it that only a user's message can hold."""
    content = block.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else _all_parts(content, f"{place}.content")
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    told = string(block.get("tool_use_id"), f"{place}.tool_use_id")
    said = FAILED + text if block.get("is_error") is True else text
    more = [part for part in parts if part["type"] != "text"]
    return {"role": "tool", "tool_call_id": told, "content": said}, more
