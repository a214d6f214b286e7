"""Translates a chat completion into a Response. Pure.

Its `openfall` names what the translated request left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.router_core.jobs.response_body import build_response
from openfall.router_core.jobs.response_items import (
    call_item,
    item_id,
    message_item,
    reasoning_item,
    refusal_part,
    text_part,
)
from openfall.workers.backends.parsing import content_text, token_count
from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.json_values import Body, objects, text_field
from openfall.workers.backends.translate.openai_parts import reasoning_in
from openfall.workers.backends.translate.responses_request import left_out
from openfall.workers.backends.usage import (
    cached_tokens,
    completion_tokens,
    completion_usage,
    prompt_tokens,
    stored_tokens,
)


def response(body: Body, request: Body) -> dict[str, Any]:
    """The Response. Its items have ids of ours, as no provider of Responses knows them."""
    choice = body["choices"][0]
    created, dropped = body.get("created"), left_out(request)
    translated = build_response(
        text_field(body, "id"),
        list(_items(choice, CallIds.after(request))),
        _usage(completion_usage(body)),
        model=text_field(body, "model"),
        created_at=created if isinstance(created, int) else 0,
    )
    if choice.get("finish_reason") == "length":
        translated |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    return translated | ({"openfall": {"left_out": dropped}} if dropped else {})


def _items(choice: Body, ids: CallIds) -> Iterator[dict[str, Any]]:
    """The reasoning, the message and the tool calls of a chat completion."""
    message, number = choice["message"], 0
    if reasoning := reasoning_in(message):
        yield reasoning_item(item_id("rs", number), reasoning)
        number += 1
    parts = list(_parts(choice, message))
    calls = list(objects(message.get("tool_calls")))
    if parts or not (calls or number):
        yield message_item(item_id("msg", number), parts or [text_part("")])
        number += 1
    for call in calls:
        function = call.get("function")
        if isinstance(function, Mapping):
            call_id, name = ids.add_call(text_field(call, "id")), text_field(function, "name")
            yield call_item(item_id("fc", number), call_id, name, text_field(function, "arguments") or "{}")
            number += 1


def _parts(choice: Body, message: Body) -> Iterator[dict[str, Any]]:
    if text := content_text(message.get("content")):
        logprobs = choice.get("logprobs")
        tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
        yield {**text_part(text), "logprobs": tokens if isinstance(tokens, list) else []}
    if refusal := text_field(message, "refusal"):
        yield refusal_part(refusal)


def _usage(usage: Any) -> dict[str, Any] | None:
    if not isinstance(usage, Mapping):
        return None
    prompt, written = prompt_tokens(usage) or 0, completion_tokens(usage) or 0
    details = usage.get("completion_tokens_details")
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": cached_tokens(usage) or 0,
            "cache_write_tokens": stored_tokens(usage) or 0,
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": token_count(details, "reasoning_tokens") or 0},
        "total_tokens": prompt + written,
    }
