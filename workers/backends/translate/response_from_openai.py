"""An answer in OpenAI's dialect as Anthropic's. Pure.

Thoughts that carry no signature become a thinking block with an empty one: there is none, and the dialect wants it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.parsing import token_count
from openfall.workers.backends.translate.json_values import json_object, safe_id
from openfall.workers.backends.translate.refusals import Unreadable
from openfall.workers.backends.translate.vocabulary import STOP

Body = Mapping[str, Any]


def answer(body: Body, asked: Body) -> dict[str, Any]:
    """The `message`. `Unreadable` for a tool call whose arguments are no JSON object, unless the limit cut them off."""
    choice = body["choices"][0]
    reason, sequence = _stop(choice, asked)
    named = _text(body, "id")
    content = [*_said(choice["message"]), *_uses(choice["message"], named, cut=reason == "max_tokens")]
    if reason == "end_turn" and any(block["type"] == "tool_use" for block in content):
        reason = "tool_use"  # some servers say `stop` of every end
    return {
        "id": named,
        "type": "message",
        "role": "assistant",
        "model": _text(body, "model"),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": _usage(body.get("usage")),
    }


def finish(body: Body) -> str:
    """The stop reason of a `message` that `answer` made."""
    told: str = body["stop_reason"]
    return told


def _stop(choice: Body, asked: Body) -> tuple[str, str | None]:
    """The stop reason, and the sequence where it is told (by vLLM, as `stop_reason`)."""
    told, sequences = choice.get("stop_reason"), asked.get("stop_sequences")
    if isinstance(told, str) and isinstance(sequences, list) and told in sequences:
        return "stop_sequence", told
    return STOP.get(choice["finish_reason"], "end_turn"), None


def _said(message: Body) -> Iterator[dict[str, Any]]:
    """What was thought and said, in that order."""
    blocks = message.get("thinking_blocks")
    thought = _text(message, "reasoning_content") or _text(message, "reasoning")
    if isinstance(blocks, list) and blocks and all(isinstance(block, Mapping) for block in blocks):
        yield from map(dict, blocks)
    elif thought:
        yield {"type": "thinking", "thinking": thought, "signature": ""}
    for text in (_text(message, "content"), _text(message, "refusal")):
        if text:
            yield {"type": "text", "text": text}


def _uses(message: Body, answer_id: str, *, cut: bool) -> Iterator[dict[str, Any]]:
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            continue
        given = _given(function.get("arguments"))
        if given is None and not cut:
            raise Unreadable("the arguments of a tool call are no JSON object")
        told = _text(call, "id") or f"toolu_{answer_id}_{index}"
        yield {"type": "tool_use", "id": safe_id(told), "name": _text(function, "name"), "input": given or {}}


def _given(arguments: Any) -> dict[str, Any] | None:
    """Some servers send the object itself in place of its text."""
    return arguments if isinstance(arguments, dict) else json_object(arguments if isinstance(arguments, str) else "")


def _text(told: Body, name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _usage(usage: Any) -> dict[str, Any]:
    """Anthropic's input tokens are those that the cache had no part in. What is not told is 0: the dialect wants it."""
    prompt, written = token_count(usage, "prompt_tokens") or 0, token_count(usage, "completion_tokens") or 0
    details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
    read, stored = token_count(details, "cached_tokens") or 0, token_count(details, "cache_write_tokens") or 0
    said: dict[str, Any] = {"input_tokens": max(0, prompt - read - stored), "output_tokens": written}
    said |= {"cache_read_input_tokens": read, "cache_creation_input_tokens": stored}
    more = usage.get("completion_tokens_details") if isinstance(usage, Mapping) else None
    thought = token_count(more, "reasoning_tokens")
    return said | ({} if thought is None else {"output_tokens_details": {"thinking_tokens": thought}})
