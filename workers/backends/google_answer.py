"""Puts an answer of Gemini's own protocol into the form of a `chat.completion`. Pure.

Some gateways to Gemini pass on its answer, or a part of its stream, unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_choices(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the choices that its candidates are. One without candidates stays as it is."""
    inner = document.get("response")  # of Google's Code Assist
    document = inner if isinstance(inner, dict) and "candidates" in inner else document
    candidates, feedback = document.get("candidates"), document.get("promptFeedback")
    blocked = feedback.get("blockReason") if isinstance(feedback, Mapping) else None
    if document.get("choices") or (not isinstance(candidates, list) and not blocked):
        return document
    kept = {key: value for key, value in document.items() if key not in ("candidates", "promptFeedback")}
    choices = [_choice(candidate) for candidate in candidates or () if isinstance(candidate, Mapping)]
    reason = f"content_filter: {blocked}" if blocked else None
    refused: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": reason}
    head = {"id": kept.pop("responseId", None), "model": kept.pop("modelVersion", None)}
    return {**head, **kept, "object": "chat.completion", "choices": choices or [refused]}


def _choice(candidate: Mapping[str, Any]) -> dict[str, Any]:
    content, reason = candidate.get("content"), candidate.get("finishReason")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    known = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    texts = [(part["text"], part.get("thought") is True) for part in known if isinstance(part.get("text"), str)]
    calls = [_call(part, call) for part in known if isinstance(call := part.get("functionCall"), Mapping)]
    delta: dict[str, Any] = {"content": "".join(text for text, is_thought in texts if not is_thought)}
    if thoughts := "".join(text for text, is_thought in texts if is_thought):
        delta["reasoning_content"] = thoughts
    if calls:
        delta["tool_calls"], reason = calls, "tool_calls" if reason == "STOP" else reason
    return {"index": candidate.get("index", 0), "delta": delta, "finish_reason": reason}


def _call(part: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call. The signature of a thought is where Google's own OpenAI form has it: it must return to Gemini."""
    function = {"name": call.get("name"), "arguments": call.get("args") or {}}
    made = {"id": call.get("id"), "type": "function", "function": function}
    signature = part.get("thoughtSignature")
    return made | ({"extra_content": {"google": {"thought_signature": signature}}} if signature else {})
