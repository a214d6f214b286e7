"""Translates a response of Anthropic's dialect into OpenAI's. Pure.

Thinking becomes `reasoning_content`, as at most servers of that dialect. `thinking_blocks` keeps it with its
signatures, so a caller that sends the message back loses nothing at Anthropic.
"""

from __future__ import annotations

from typing import Any

from openfall.workers.backends.parsing import token_count
from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.finish_and_stop_reasons import FINISH
from openfall.workers.backends.translate.json_values import Body, objects, text_field
from openfall.workers.backends.translate.openai_parts import completion, tool_call
from openfall.workers.backends.translate.tool_names import callers_names

REFUSED = "The model refused to answer."
"""The words of a refusal that has none of its own."""


def response(body: Body, request: Body) -> dict[str, Any]:
    """The `chat.completion`. `created` is 0, since the response has no time."""
    blocks = list(objects(body.get("content")))
    stop = body.get("stop_reason")
    reason = FINISH.get(stop, "stop") if isinstance(stop, str) else "stop"
    head = {"id": text_field(body, "id"), "model": text_field(body, "model")}
    message = _message(blocks, CallIds.after(request), callers_names(request, "anthropic"))
    if stop == "refusal":
        message |= {"content": None, "refusal": message["content"] or REFUSED}
    return completion(head, message, reason, _usage(body.get("usage")))


def _message(blocks: list[Body], ids: CallIds, names: Body) -> dict[str, Any]:
    text = "".join(text_field(block, "text") for block in blocks if block.get("type") == "text")
    thinking = [dict(block) for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    calls = [_call(block, ids, names) for block in blocks if block.get("type") == "tool_use"]
    message: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text, "refusal": None}
    if thinking:
        message["reasoning_content"] = "".join(text_field(block, "thinking") for block in thinking)
        message["thinking_blocks"] = thinking
    return message | ({"tool_calls": calls} if calls else {})


def _call(block: Body, ids: CallIds, names: Body) -> dict[str, Any]:
    arguments, name = block.get("input") or {}, text_field(block, "name")
    return tool_call(ids.add_call(text_field(block, "id")), names.get(name, name), arguments, "the input of a tool")


def _usage(usage: Any) -> dict[str, Any] | None:
    """The usage. OpenAI's prompt tokens include the tokens that the cache read and stored."""
    uncached, output = token_count(usage, "input_tokens"), token_count(usage, "output_tokens")
    if uncached is None or output is None:
        return None
    read, stored = (token_count(usage, f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation"))
    prompt = uncached + read + stored
    result: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    result["prompt_tokens_details"] = {"cached_tokens": read, "cache_write_tokens": stored}
    reasoning = token_count(usage.get("output_tokens_details"), "thinking_tokens")
    return result | ({} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}})
