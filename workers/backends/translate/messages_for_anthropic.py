"""The messages of a conversation in OpenAI's dialect as Anthropic's turns. Pure.

System and developer messages go before the conversation, wherever they stood. Messages that follow each other on one
side are one turn, as the results of parallel tool calls must be. A speaker's `name` has no place and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.translate.json_values import (
    json_object,
    kind,
    listed,
    mapping,
    safe_id,
    string,
    unknown,
)
from openfall.workers.backends.translate.media import document_block, image_block
from openfall.workers.backends.translate.refusals import Untranslatable

Block = dict[str, Any]


def turns(messages: Any) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system's blocks, and the turns. What only a system says is asked as the user's: there must be a turn."""
    system: list[Block] = []
    said: list[dict[str, Any]] = []
    for message, place in listed(messages, "messages"):
        role = string(message.get("role"), f"{place}.role")
        if role in ("system", "developer"):
            system += _content(message, place)
        elif role in ("user", "assistant", "tool"):
            _append(said, "assistant" if role == "assistant" else "user", list(_blocks(role, message, place)))
        else:
            raise unknown("messages of the role", role)
    if system and not said:
        return [], [{"role": "user", "content": system}]
    return system, [{"role": turn["role"], "content": _brief(turn["content"])} for turn in said]


def may_think(turns: list[dict[str, Any]]) -> bool:
    """Whether the next answer may begin with thinking: not after results of a tool use that did not."""
    if len(turns) < 2 or not _has(turns[-1], "tool_result"):
        return True
    return _has(turns[-2], "thinking") or _has(turns[-2], "redacted_thinking")


def _has(turn: Mapping[str, Any], type: str) -> bool:
    content = turn["content"]
    return isinstance(content, list) and any(block.get("type") == type for block in content)


def _append(said: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if said and said[-1]["role"] == role:
        said[-1]["content"] += blocks
    else:
        said.append({"role": role, "content": blocks})


def _brief(blocks: list[Block]) -> str | list[Block]:
    """One plain text is told as itself."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


def _blocks(role: str, message: Mapping[str, Any], place: str) -> Iterator[Block]:
    if role == "tool":
        yield _result(message, place)
        return
    if role == "user":
        yield from _content(message, place)
        return
    for name in ("audio", "function_call"):
        if message.get(name):
            raise Untranslatable(f"{name} of an earlier answer")
    yield from (dict(block) for block, _ in listed(message.get("thinking_blocks"), f"{place}.thinking_blocks"))
    yield from _content(message, place)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield {"type": "text", "text": refusal}
    for call, where in listed(message.get("tool_calls"), f"{place}.tool_calls"):
        yield _use(call, where)


def _content(message: Mapping[str, Any], place: str) -> Iterator[Block]:
    """The blocks of a content, which may be a text or parts. Empty texts are left out: Anthropic refuses them."""
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for part, where in listed(content, f"{place}.content"):
        block = _block(part, where)
        if isinstance(cache := part.get("cache_control"), Mapping):  # as OpenRouter has it
            block["cache_control"] = cache
        if block.get("text") != "":
            yield block


def _block(part: Mapping[str, Any], place: str) -> Block:
    match kind(part, place):
        case "text":
            return {"type": "text", "text": string(part.get("text"), f"{place}.text")}
        case "refusal":
            return {"type": "text", "text": string(part.get("refusal"), f"{place}.refusal")}
        case "image_url":
            return image_block(part, place)
        case "file":
            return document_block(part, place)
        case other:
            raise unknown("content of the type", other)


def _result(message: Mapping[str, Any], place: str) -> Block:
    told = safe_id(string(message.get("tool_call_id"), f"{place}.tool_call_id"))
    blocks = list(_content(message, place))
    return {"type": "tool_result", "tool_use_id": told, **({"content": _brief(blocks)} if blocks else {})}


def _use(call: Mapping[str, Any], place: str) -> Block:
    if (named := call.get("type", "function")) != "function":
        raise unknown("tool calls of the type", str(named))
    function = mapping(call.get("function"), f"{place}.function")
    given = json_object(string(function.get("arguments") or "", f"{place}.function.arguments"))
    if given is None:
        raise Untranslatable("a tool call whose arguments are no JSON object")
    called, name = string(call.get("id"), f"{place}.id"), string(function.get("name"), f"{place}.function.name")
    return {"type": "tool_use", "id": safe_id(called), "name": name, "input": given}
