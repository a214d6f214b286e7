"""Translates the messages of Anthropic's dialect into OpenAI's. Pure.

Earlier thinking is omitted: OpenAI's dialect has no field for it in a request, and strict servers refuse unknown
fields. So are the calls of the provider's own tools: the text after them says what they found. A tool's failure becomes
a sentence, an image in a tool's result becomes the user's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.json_values import kind, listed, mapping, string, text_or_blocks, unknown
from openfall.workers.backends.translate.media import document_parts, image_part
from openfall.workers.backends.translate.messages_for_anthropic import NO_RESULT
from openfall.workers.backends.translate.openai_parts import tool_call
from openfall.workers.backends.translate.refusals import Untranslatable
from openfall.workers.backends.translate.tool_names import tool_name

Part = dict[str, Any]
FAILED_PREFIX = "The tool failed. "
"""The beginning of a result that Anthropic's dialect marks as an error."""

_OF_THE_PROVIDER = ("thinking", "redacted_thinking", "server_tool_use", "fallback")
"""Blocks of an answer that only their provider reads, as the results of its own tools."""


def system_message(system: Any) -> list[dict[str, Any]]:
    """The system's text as the first message. Its blocks become paragraphs."""
    text = system if isinstance(system, str) else "\n\n".join(_texts(system, "system"))
    return [{"role": "system", "content": text}] if text else []


def translate_messages(messages: Any) -> Iterator[dict[str, Any]]:
    """The messages. Each result of a tool, and the rest of the user's message, becomes a message of its own. A call
    without a result gets one: OpenAI refuses it otherwise."""
    waiting: list[str] = []
    for message in _translated(messages):
        if message["role"] == "tool" and message["tool_call_id"] in waiting:
            waiting.remove(message["tool_call_id"])
        elif message["role"] != "tool":
            yield from map(_no_result, waiting)
            waiting = [call["id"] for call in message.get("tool_calls", ())]
        yield message
    yield from map(_no_result, waiting)


def _no_result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": NO_RESULT}


def _translated(messages: Any) -> Iterator[dict[str, Any]]:
    ids = CallIds()
    for message, path in listed(messages, "messages"):
        content = message.get("content")
        match string(message.get("role"), f"{path}.role"):
            case "system" | "developer":
                yield from system_message(content)
            case "assistant":
                yield _assistant(content, f"{path}.content", ids)
            case "user" if isinstance(content, str):
                yield {"role": "user", "content": content}
            case "user":
                yield from _user(content, f"{path}.content", ids)
            case other:
                raise unknown("messages of the role", other)


def _texts(content: Any, path: str) -> Iterator[str]:
    for block, part_path in listed(content, path):
        if kind(block, part_path) != "text":
            raise Untranslatable(f"{path} of anything but text")
        yield string(block.get("text"), f"{part_path}.text")


def _assistant(content: Any, path: str, ids: CallIds) -> dict[str, Any]:
    ids.begin_turn()
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts, calls = [], []
    for block, part_path in listed(content, path):
        match kind(block, part_path):
            case "text":
                texts.append(string(block.get("text"), f"{part_path}.text"))
            case "compaction" if isinstance(summary := block.get("content"), str):  # of the messages before it
                texts.append(f"{summary}\n\n")
            case "tool_use":
                calls.append(_call(block, part_path, ids))
            case other if other not in _OF_THE_PROVIDER and not other.endswith("_tool_result"):
                raise unknown("content of the type", other)
    text = "".join(texts)
    if calls:
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": "assistant", "content": text}


def _call(block: Mapping[str, Any], path: str, ids: CallIds) -> dict[str, Any]:
    arguments = mapping(block.get("input") or {}, f"{path}.input")
    call_id = string(block.get("id"), f"{path}.id")
    name = tool_name(string(block.get("name"), f"{path}.name"), "openai")
    return tool_call(ids.add_call(call_id, name), name, arguments, f"{path}.input")


def _user(content: Any, path: str, ids: CallIds) -> Iterator[dict[str, Any]]:
    """The results first, since they must follow the calls, then the rest of the message."""
    parts: list[Part] = []
    for block, part_path in listed(content, path):
        if kind(block, part_path) == "tool_result":
            result, other_parts = _result(block, part_path, ids)
            yield result
            parts += other_parts
        else:
            parts += _parts(block, part_path)
    if parts:
        yield {"role": "user", "content": text_or_blocks(parts)}


def _parts(block: Mapping[str, Any], path: str) -> list[Part]:
    match kind(block, path):
        case "text":
            return [{"type": "text", "text": string(block.get("text"), f"{path}.text")}]
        case "image":
            return [image_part(block, path)]
        case "document":
            match block.get("source"):
                case {"type": "content", "content": str(text)}:
                    return [{"type": "text", "text": text}]
                case {"type": "content", "content": blocks}:
                    return _all_parts(blocks, f"{path}.source.content")
            return document_parts(block, path)
        case "tool_reference":
            return [{"type": "text", "text": string(block.get("tool_name"), f"{path}.tool_name")}]
        case "search_result":
            head = "\n".join(string(block.get(key), f"{path}.{key}") for key in ("title", "source"))
            return [{"type": "text", "text": head}, *_all_parts(block.get("content"), f"{path}.content")]
        case other:
            raise unknown("content of the type", other)


def _all_parts(blocks: Any, path: str) -> list[Part]:
    return [part for block, part_path in listed(blocks, path) for part in _parts(block, part_path)]


def _result(block: Mapping[str, Any], path: str, ids: CallIds) -> tuple[dict[str, Any], list[Part]]:
    """The message of a result, and its parts that only a user's message can hold."""
    content = block.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else _all_parts(content, f"{path}.content")
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    call_id = ids.add_result(string(block.get("tool_use_id"), f"{path}.tool_use_id"))
    result = FAILED_PREFIX + text if block.get("is_error") is True else text
    others = [part for part in parts if part["type"] != "text"]
    return {"role": "tool", "tool_call_id": call_id, "content": result}, others
