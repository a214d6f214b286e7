"""Translates the messages of OpenAI's dialect into Anthropic's. Pure.

System and developer messages move before the conversation. Consecutive messages of one side become one message, as
Anthropic requires for the results of parallel tool calls. A speaker's `name` is omitted: Anthropic has no field for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.json_values import (
    kind,
    listed,
    optional_string,
    safe_id,
    string,
    text_or_blocks,
    unknown,
)
from openfall.workers.backends.translate.media import document_block, image_block
from openfall.workers.backends.translate.older_functions import with_tool_calls
from openfall.workers.backends.translate.openai_parts import content_parts, earlier_call
from openfall.workers.backends.translate.refusals import Untranslatable
from openfall.workers.backends.translate.tool_names import tool_name

Block = dict[str, Any]

FIRST_WORDS = "."
NO_RESULT = "The tool gave no result."
RESULT_WITHOUT_CALL = "The result of an earlier tool call: "


def translate_messages(messages: Any) -> tuple[list[Block], list[dict[str, Any]]]:
    """The system's blocks, and the messages. System blocks alone become the user's message, since one is required."""
    system: list[Block] = []
    result: list[dict[str, Any]] = []
    ids = CallIds()
    for message, path in with_tool_calls(messages):
        role = string(message.get("role"), f"{path}.role").lower()
        if role in ("system", "developer"):
            system += _content(message, path)
        elif role in ("user", "assistant", "tool"):
            _append(result, "assistant" if role == "assistant" else "user", list(_blocks(role, message, path, ids)))
        else:
            raise unknown("messages of the role", role)
    if system and not result:
        return [], [{"role": "user", "content": system}]
    if not result or result[0]["role"] == "assistant":  # a greeting, or an empty prompt: the user begins
        result.insert(0, {"role": "user", "content": [{"type": "text", "text": FIRST_WORDS}]})
    if result and result[-1]["role"] == "assistant":
        _strip_end(result[-1]["content"])
    _answer_calls(result)
    return system, [
        {"role": message["role"], "content": text_or_blocks(_results_first(message["content"]))} for message in result
    ]


def _answer_calls(messages: list[dict[str, Any]]) -> None:
    """Give each call of a tool a result: Anthropic refuses a call without one. A person may have stopped the tool."""
    for place in reversed(range(len(messages))):
        uses = [block["id"] for block in messages[place]["content"] if block.get("type") == "tool_use"]
        if not uses:
            continue
        if place + 1 == len(messages):
            messages.append({"role": "user", "content": []})
        blocks = messages[place + 1]["content"]
        given = {block.get("tool_use_id") for block in blocks}
        blocks += [
            {"type": "tool_result", "tool_use_id": use, "content": NO_RESULT} for use in uses if use not in given
        ]


def _results_first(blocks: list[Block]) -> list[Block]:
    """The results of tools before anything else, as Anthropic requires: a caller may write a text between them."""
    return sorted(blocks, key=lambda block: block.get("type") != "tool_result")


def is_signed(block: Mapping[str, Any]) -> bool:
    """Whether Anthropic can accept a block as its own thinking. Reasoning of another provider has an empty signature,
    since the dialect requires one."""
    return block.get("type") != "thinking" or bool(block.get("signature"))


def may_think(messages: list[dict[str, Any]]) -> bool:
    """Whether the next answer may begin with thinking: not after the results of a tool use that did not."""
    if len(messages) < 2 or not _has(messages[-1], "tool_result"):
        return True
    return _has(messages[-2], "thinking") or _has(messages[-2], "redacted_thinking")


def _has(message: Mapping[str, Any], type: str) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(block.get("type") == type for block in content)


def _strip_end(blocks: list[Block]) -> None:
    """Remove white space at the end of the beginning of an answer: Anthropic refuses it."""
    if blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def _append(messages: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    else:
        messages.append({"role": role, "content": blocks})


def _blocks(role: str, message: Mapping[str, Any], path: str, ids: CallIds) -> Iterator[Block]:
    if role == "tool":
        yield _result(message, path, ids)
        return
    if role == "user":
        yield from _content(message, path)
        return
    ids.begin_turn()
    if message.get("audio"):
        raise Untranslatable("audio of an earlier answer")
    thinking = (block for block, _ in listed(message.get("thinking_blocks"), f"{path}.thinking_blocks"))
    yield from (dict(block) for block in thinking if is_signed(block))
    yield from _content(message, path)
    if isinstance(refusal := message.get("refusal"), str) and refusal.strip():
        yield {"type": "text", "text": refusal}
    for call, part_path in listed(message.get("tool_calls"), f"{path}.tool_calls"):
        yield _use(call, part_path, ids)


def _content(message: Mapping[str, Any], path: str) -> Iterator[Block]:
    """The blocks of a content, which may be a text or parts. Texts of white space alone are omitted: Anthropic refuses
    them."""
    content = message.get("content")
    for part, part_path in () if content is None else content_parts(content, f"{path}.content"):
        block = _block(part, part_path)
        if isinstance(cache := part.get("cache_control"), Mapping):  # as at OpenRouter
            block["cache_control"] = cache
        if "text" not in block or block["text"].strip():
            yield block


def _block(part: Mapping[str, Any], path: str) -> Block:
    match kind(part, path):
        case "text":
            return {"type": "text", "text": string(part.get("text"), f"{path}.text")}
        case "refusal":
            return {"type": "text", "text": string(part.get("refusal"), f"{path}.refusal")}
        case "image_url":
            return image_block(part, path)
        case "file":
            return document_block(part, path)
        case other:
            raise unknown("content of the type", other)


def _result(message: Mapping[str, Any], path: str, ids: CallIds) -> Block:
    given = safe_id(optional_string(message.get("tool_call_id"), f"{path}.tool_call_id"))
    blocks = list(_content(message, path))
    if not ids.is_waiting(given):  # its call was cut off: Anthropic takes no result without one
        texts = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        return {"type": "text", "text": f"{RESULT_WITHOUT_CALL}{texts}"}
    call_id = ids.add_result(given)
    return {"type": "tool_result", "tool_use_id": call_id, **({"content": text_or_blocks(blocks)} if blocks else {})}


def _use(call: Mapping[str, Any], path: str, ids: CallIds) -> Block:
    call_id, name, arguments = earlier_call(call, path)
    use = {"type": "tool_use", "id": ids.add_call(safe_id(call_id), name), "name": tool_name(name, "anthropic")}
    return {**use, "input": arguments}
