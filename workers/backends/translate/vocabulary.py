"""What the two dialects call the same thing: why an answer ended, and how much is to be thought."""

from __future__ import annotations

from collections.abc import Mapping

FINISH: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
"""Anthropic's stop reasons and OpenAI's finish reasons. A refusal and a full context are no answers at all."""

STOP: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}

THINKING: Mapping[str, int] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 4096,
    "high": 16384,
    "xhigh": 32768,
    "max": 32768,
}
"""OpenAI's `reasoning_effort` and the tokens of thinking that it stands for. 1024 is the least that Anthropic takes;
the most of them and an answer beside it are fewer than every thinking model of Anthropic's may write."""

LEAST_THINKING = 1024

EFFORT: Mapping[str, str] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Anthropic's `effort` as OpenAI's. What is above `high` few servers know."""


def effort_for(budget: int) -> str:
    """The `reasoning_effort` that a budget of thinking comes nearest to from below; `high` is the most."""
    return "high" if budget >= THINKING["high"] else "medium" if budget >= THINKING["medium"] else "low"
