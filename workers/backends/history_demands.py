"""What a server demands of the earlier answers in a history, read from its refusal. Pure.

DeepSeek, Kimi and MiMo demand the reasoning of each earlier answer, Gemini a signature for each earlier tool call. A
history that another model wrote, or that passed through another dialect, has neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from openfall.workers.backends.call_request import Request
from openfall.workers.backends.parsing import content_text

NO_REASONING = " "
"""Stands for a reasoning that is not known. DeepSeek V4 refuses an empty text."""

NO_SIGNATURE = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""What Gemini documents for a call that has no signature of its own."""


class HistoryDemand(StrEnum):
    """What each earlier answer must have."""

    REASONING = "reasoning"
    SIGNATURE = "signature"


_WORDS = {
    HistoryDemand.REASONING: re.compile(r"(?i)reasoning_content\b.{0,80}(passed back|\bmissing\b|\brequired\b)"),
    HistoryDemand.SIGNATURE: re.compile(r"(?i)\bmissing\b.{0,20}thought_?signature"),
}


def demanded(detail: str) -> HistoryDemand | None:
    """What a refusal demands; None: nothing of a history."""
    return next((demand for demand, words in _WORDS.items() if words.search(detail)), None)


def fulfil(demand: HistoryDemand, body: dict[str, Any], request: Request) -> dict[str, Any]:
    """A body of OpenAI's dialect whose earlier answers have what is demanded. What they have already stays."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    if demand is HistoryDemand.SIGNATURE:
        return {**body, "messages": [_signed(message) for message in messages]}
    places = [place for place, message in enumerate(messages) if _is_answer(message)]
    known = _reasonings(request)
    known = known if len(known) == len(places) else [NO_REASONING] * len(places)
    filled = {
        place: {**messages[place], "reasoning_content": messages[place].get("reasoning_content") or text}
        for place, text in zip(places, known, strict=True)
    }
    return {**body, "messages": [filled.get(place, message) for place, message in enumerate(messages)]}


def _is_answer(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "assistant"


def _reasonings(request: Request) -> list[str]:
    """The reasoning of each answer in the caller's own body, which a translation leaves out."""
    messages = request.body.get("messages")
    return [_reasoning(message) for message in messages if _is_answer(message)] if isinstance(messages, list) else []


def _reasoning(message: Mapping[str, Any]) -> str:
    content, blocks = message.get("content"), []
    if isinstance(content, list):
        blocks = [block.get("thinking") for block in content if isinstance(block, Mapping)]
    texts = [message.get("reasoning"), message.get("thinking"), *blocks]
    return "".join(content_text(text) for text in texts) or NO_REASONING


def _signed(message: Any) -> Any:
    calls = message.get("tool_calls") if _is_answer(message) else None
    if not isinstance(calls, list):
        return message
    signed = [
        {**call, "extra_content": NO_SIGNATURE} if isinstance(call, Mapping) and not call.get("extra_content") else call
        for call in calls
    ]
    return {**message, "tool_calls": signed}
