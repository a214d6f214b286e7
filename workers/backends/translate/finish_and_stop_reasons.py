"""Finish reasons of OpenAI as stop reasons of Anthropic, and back."""

from __future__ import annotations

from collections.abc import Mapping

FINISH: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
"""OpenAI's finish reasons by Anthropic's stop reasons. A refusal and a full context are failures, not answers."""

STOP: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}
