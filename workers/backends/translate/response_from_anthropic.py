"""An answer in Anthropic's dialect as OpenAI's. Pure.

Thoughts are `reasoning_content`, as most servers of that dialect have them; `thinking_blocks` holds them with their
signatures, so that a caller who sends the message back as it came loses nothing at Anthropic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.workers.backends.parsing import token_count
from openfall.workers.backends.translate.json_values import json_text
from openfall.workers.backends.translate.vocabulary import FINISH

Body = Mapping[str, Any]


def answer(body: Body, _request: Body) -> dict[str, Any]:
    """The `chat.completion`. It was `created` at 0: nobody tells when."""
    content = body.get("content")
    blocks = [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []
    stop = body.get("stop_reason")
    choice = {
        "index": 0,
        "message": _message(blocks),
        "logprobs": None,
        "finish_reason": FINISH.get(stop, "stop") if isinstance(stop, str) else "stop",
    }
    head = {"id": _text(body, "id"), "object": "chat.completion", "created": 0, "model": _text(body, "model")}
    return {**head, "choices": [choice], "usage": _usage(body.get("usage"))}


def finish(body: Body) -> str:
    """The finish reason of a `chat.completion` that `answer` made."""
    told: str = body["choices"][0]["finish_reason"]
    return told


def _message(blocks: list[Body]) -> dict[str, Any]:
    text = "".join(_text(block, "text") for block in blocks if block.get("type") == "text")
    thoughts = [dict(block) for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    message: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text, "refusal": None}
    if thoughts:
        message["reasoning_content"] = "".join(_text(block, "thinking") for block in thoughts)
        message["thinking_blocks"] = thoughts
    return message | ({"tool_calls": calls} if calls else {})


def _call(block: Body) -> dict[str, Any]:
    function = {"name": _text(block, "name"), "arguments": json_text(block.get("input") or {}, "the input of a tool")}
    return {"id": _text(block, "id"), "type": "function", "function": function}


def _text(told: Body, name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _usage(usage: Any) -> dict[str, Any] | None:
    """OpenAI's prompt tokens are all of them: those that the cache gave and took are a part."""
    fresh, written = token_count(usage, "input_tokens"), token_count(usage, "output_tokens")
    if fresh is None or written is None:
        return None
    read, stored = (token_count(usage, f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation"))
    asked = fresh + read + stored
    said: dict[str, Any] = {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}
    said["prompt_tokens_details"] = {"cached_tokens": read, "cache_write_tokens": stored}
    thought = token_count(usage.get("output_tokens_details"), "thinking_tokens")
    return said | ({} if thought is None else {"completion_tokens_details": {"reasoning_tokens": thought}})
