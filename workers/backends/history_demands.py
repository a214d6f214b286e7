"""What a server demands of the messages of a history, read from its refusal. Pure.

DeepSeek, Kimi and MiMo demand the reasoning of each earlier answer, Gemini a signature for each earlier tool call. A
history that another model wrote, or that passed through another dialect, has neither. Many servers know no `developer`,
OpenAI's newer name of the role `system`.
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
    """What each earlier answer must have, or the role that gives the instructions."""

    REASONING = "reasoning"
    SIGNATURE = "signature"
    SYSTEM_ROLE = "system_role"


_WORDS = {
    HistoryDemand.REASONING: re.compile(r"(?i)reasoning_content\b.{0,80}(passed back|\bmissing\b|\brequired\b)"),
    HistoryDemand.SIGNATURE: re.compile(r"(?i)\bmissing\b.{0,20}thought_?signature"),
    HistoryDemand.SYSTEM_ROLE: re.compile(
        r"(?i)\bdeveloper\b.{0,60}\b(not|in)\b|\b(un\w+|in\w+|not)\b.{0,40}\bdeveloper\b"
        r"|\brole\b.{0,20}input should be|\bunexpected (message )?role|\broles? .{0,40}\b(not|only)\b"
    ),
}


def demanded(detail: str, body: Mapping[str, Any]) -> HistoryDemand | None:
    """What a refusal of a body demands; None: nothing of a history."""
    demand = next((demand for demand, words in _WORDS.items() if words.search(detail)), None)
    return None if demand is HistoryDemand.SYSTEM_ROLE and not _has_newer_role(body) else demand


def fulfil(demand: HistoryDemand, body: dict[str, Any], request: Request) -> dict[str, Any]:
    """A body of OpenAI's dialect whose messages have what is demanded. What they have already stays."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    if demand is HistoryDemand.SIGNATURE:
        return {**body, "messages": [_signed(message) for message in messages]}
    if demand is HistoryDemand.SYSTEM_ROLE:
        return {**body, "messages": [_of_system(message) for message in messages]}
    places = [place for place, message in enumerate(messages) if _is_answer(message)]
    known = _reasonings(request)
    known = known if len(known) == len(places) else [NO_REASONING] * len(places)
    filled = {
        place: {**messages[place], "reasoning_content": messages[place].get("reasoning_content") or text}
        for place, text in zip(places, known, strict=True)
    }
    return {**body, "messages": [filled.get(place, message) for place, message in enumerate(messages)]}


def _has_newer_role(body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    turns = messages if isinstance(messages, list) else []
    return any(isinstance(message, Mapping) and message.get("role") == "developer" for message in turns)


def _of_system(message: Any) -> Any:
    is_newer = isinstance(message, Mapping) and message.get("role") == "developer"
    return {**message, "role": "system"} if is_newer else message


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
