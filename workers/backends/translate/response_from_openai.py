"""Translates a response of OpenAI's dialect into Anthropic's. Pure.

Reasoning without a signature becomes a thinking block with an empty signature, which the dialect requires.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.workers.backends.parsing import content_text, token_count
from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.finish_and_stop_reasons import STOP
from openfall.workers.backends.translate.json_values import Body, safe_id, text_field
from openfall.workers.backends.translate.openai_parts import calls_in, reasoning_in
from openfall.workers.backends.translate.tool_names import callers_names
from openfall.workers.backends.usage import (
    cached_tokens,
    completion_tokens,
    completion_usage,
    prompt_tokens,
    stored_tokens,
)


def response(body: Body, request: Body) -> dict[str, Any]:
    """The `message`. `Unreadable` for a tool call whose arguments are not a JSON object, unless cut off."""
    choice = body["choices"][0]
    reason, sequence = _stop(choice, request)
    message_id = text_field(body, "id")
    uses = _tool_uses(choice["message"], request, cut=reason == "max_tokens")
    content = [*_texts(choice["message"]), *uses]
    if reason == "end_turn" and any(block["type"] == "tool_use" for block in content):
        reason = "tool_use"  # some servers send `stop` for every end
    if text_field(choice["message"], "refusal") and not content_text(choice["message"].get("content")):
        reason = "refusal"
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": text_field(body, "model"),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": _usage(completion_usage(body)),
    }


def _stop(choice: Body, request: Body) -> tuple[str, str | None]:
    """The stop reason, and the sequence if the server names it (vLLM does, as `stop_reason`)."""
    reason, sequences = choice.get("stop_reason"), request.get("stop_sequences")
    if isinstance(reason, str) and isinstance(sequences, list) and reason in sequences:
        return "stop_sequence", reason
    return STOP.get(choice["finish_reason"], "end_turn"), None


def _texts(message: Body) -> Iterator[dict[str, Any]]:
    """The blocks of thinking, then those of text."""
    blocks = message.get("thinking_blocks")
    reasoning = reasoning_in(message)
    if isinstance(blocks, list) and blocks and all(isinstance(block, Mapping) for block in blocks):
        yield from map(dict, blocks)
    elif reasoning:
        yield {"type": "thinking", "thinking": reasoning, "signature": ""}
    for text in (content_text(message.get("content")), text_field(message, "refusal")):
        if text:
            yield {"type": "text", "text": text}


def _tool_uses(message: Body, request: Body, *, cut: bool) -> Iterator[dict[str, Any]]:
    ids, names = CallIds.after(request), callers_names(request, "openai")
    for call_id, name, arguments in calls_in(message, cut=cut):
        name = names.get(name, name)
        yield {"type": "tool_use", "id": ids.add_call(safe_id(call_id)), "name": name, "input": arguments}


def _usage(usage: Any) -> dict[str, Any]:
    """The usage. Anthropic's input tokens exclude cached ones. A missing number is 0: the dialect requires one."""
    prompt, output = prompt_tokens(usage) or 0, completion_tokens(usage) or 0
    read, stored = cached_tokens(usage) or 0, stored_tokens(usage) or 0
    result: dict[str, Any] = {"input_tokens": max(0, prompt - read - stored), "output_tokens": output}
    result |= {"cache_read_input_tokens": read, "cache_creation_input_tokens": stored}
    output_details = usage.get("completion_tokens_details") if isinstance(usage, Mapping) else None
    thinking = token_count(output_details, "reasoning_tokens")
    return result | ({} if thinking is None else {"output_tokens_details": {"thinking_tokens": thinking}})
