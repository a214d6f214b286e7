"""Finish reasons, as providers write them, and what each means. Pure.

A reason outside the known ones is no success: a server that stops for a cause of its own has perhaps written half.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass

CUT_OFF = "the answer has no finish reason: it was cut off"

_SUCCESSES: Mapping[str, str] = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "compaction": "stop",
    "eos": "stop",
    "eos_token": "stop", "stop_token": "stop", "end": "stop", "complete": "stop", "completed": "stop", "done": "stop",
    "normal": "stop", "finish": "stop", "finished": "stop", "endoftext": "stop", "end_of_text": "stop", "word": "stop",
    "eos_found": "stop", "stop_string": "stop", "stop_string_found": "stop", "stop_word": "stop",
    "stop_sequence_reached": "stop",
    "length": "length", "max_tokens": "length", "max_output_tokens": "length", "max_completion_tokens": "length",
    "max_length": "length", "model_length": "length", "token_limit": "length",
    "max_new_tokens": "length", "maximum_tokens": "length", "max_output": "length", "limit": "length",
    "max_predicted_tokens_reached": "length",
    "tool_calls": "tool_calls", "tool_call": "tool_calls", "tool_use": "tool_calls", "function_call": "function_call",
}  # fmt: skip
"""OpenAI's reason by the reasons of the servers that imitate it, of Anthropic, Gemini, Cohere, TGI, Baidu, Titan, AI21,
Aleph Alpha, LM Studio and llama.cpp."""

_FAILURES: Mapping[ErrorClass, tuple[str, str]] = {
    ErrorClass.CONTENT_FILTER: (
        "content_filter content_filtered safety image_safety recitation prohibited_content blocklist spii sensitive"
        " refusal guardrail_intervened moderation censored language image_recitation image_prohibited_content"
        " error_toxic model_armor risk_control blacklist",
        "the provider's filter stopped the answer",
    ),
    ErrorClass.CONTEXT_OVERFLOW: (
        "model_context_window_exceeded context_window_exceeded context_length_exceeded context_length_reached"
        " error_limit context context_limit",
        "the answer ran into the end of the context",
    ),
    ErrorClass.INVALID_OUTPUT: (
        "malformed_function_call malformed_tool_call unexpected_tool_call too_many_tool_calls tool_error repetition"
        " repetition_truncation"
        " malformed_response malformed_model_output malformed_tool_use missing_thought_signature no_image image_other",
        "the model wrote what cannot be used: a broken tool call, or one text again and again",
    ),
    ErrorClass.OVERLOADED: (
        "insufficient_system_resource network_error error model_error server_error internal_error overloaded"
        " abort aborted cancelled canceled timeout time_limit preempted not_finished",
        "the provider failed within the answer",
    ),
}
_CLASSES = {word: (error, detail) for error, (words, detail) in _FAILURES.items() for word in words.split()}
_NAME = re.compile(r"[\w .:-]{1,40}")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def is_reason(reason: Any) -> bool:
    """Whether a value is a finish reason. Some servers write `null` as a text into each piece."""
    return bool(reason) and str(reason).lower() not in ("null", "none")


def is_known_reason(reason: Any) -> bool:
    """Whether it is known what a finish reason means."""
    meaning = read_finish_reason(reason)
    return not isinstance(meaning, Failure) or meaning.error_class is not ErrorClass.MALFORMED


def read_finish_reason(reason: Any) -> str | Failure:
    """OpenAI's reason for a successful end; a `Failure` for any other. `MAX_TOKENS` and `content_filter: SAFETY` are
    known in any case (`maxTokens`, `content-filter`) and with any prefix."""
    if isinstance(reason, Mapping):  # of SGLang's own protocol
        reason = reason.get("type")
    name = _CAMEL.sub("_", str(reason).strip()).replace("-", "_").lower()
    words = [name, *re.split(r"[\s:.]+", name.removeprefix("finish_reason_"))]
    for word in words:
        if word in _SUCCESSES and word in (words[0], words[-1]):
            return _SUCCESSES[word]
    for word in reversed(words):
        if word in _CLASSES:
            error, detail = _CLASSES[word]
            return Failure(error_class=error, detail=detail)
    name = f" ({reason})" if isinstance(reason, str) and _NAME.fullmatch(reason) else ""
    return Failure(error_class=ErrorClass.MALFORMED, detail=f"the answer ended for an unknown reason{name}")


def failure_of_native(reason: Any) -> Failure | None:
    """The failure that a provider's own word names, where its gateway says `stop`. OpenRouter does so when a provider
    fails, and has the provider's word in `native_finish_reason`. A word outside the known ones says nothing."""
    known = read_finish_reason(reason) if reason else None
    return known if isinstance(known, Failure) and known.error_class is not ErrorClass.MALFORMED else None
