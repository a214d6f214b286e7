"""The thinking of a request in Anthropic's protocol, as the model takes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.catalog.capabilities import Thinking
from openfall.workers.backends.translate.messages_for_anthropic import is_signed
from openfall.workers.backends.translate.reasoning_effort import adaptive_effort_for


def fit_thinking(body: dict[str, Any], thinking: Thinking | None) -> dict[str, Any]:
    """A translated request whose thinking is requested as the model takes it: a translation requests a budget."""
    budget = thinking_tokens(body)
    if not budget or thinking in (None, Thinking.BUDGET):
        return body
    rest = {key: value for key, value in body.items() if key != "thinking"}
    if thinking is Thinking.NONE:
        return rest
    config = {**rest.get("output_config", {}), "effort": adaptive_effort_for(budget)}
    return {**rest, "thinking": {"type": "adaptive"}, "output_config": config}


def thinking_tokens(body: Mapping[str, Any]) -> int:
    """The requested tokens of thinking. They count towards the limit, which must be above them."""
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return budget if isinstance(budget, int) else 0


def without_unsigned_thinking(body: dict[str, Any]) -> dict[str, Any]:
    """The request without thinking that has no signature: reasoning of another provider, which openfall gave to the
    caller in this dialect. Anthropic refuses it."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    return {**body, "messages": [signed for message in messages if (signed := _signed(message)) is not None]}


def _signed(message: Any) -> Any:
    """A message without unsigned thinking; None if nothing else is in it."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        return message
    kept = [block for block in content if not isinstance(block, Mapping) or is_signed(block)]
    if len(kept) == len(content):
        return message
    return {**message, "content": kept} if kept else None
