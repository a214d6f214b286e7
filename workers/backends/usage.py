"""The tokens of an answer, as its provider counts them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.pieces import UsagePiece
from openfall.workers.backends.parsing import token_count


def merge_usage(before: Any, after: Any) -> Any:
    """The usage of a stream that reports it more than once. Counts are cumulative, so the last one holds.

    A 0 at the end replaces no count: servers that imitate a protocol fill in numbers that they do not know.
    """
    if not isinstance(before, dict) or not isinstance(after, dict):
        return before if after is None else after
    merged = dict(before)
    for key, value in after.items():
        earlier = before.get(key)
        if isinstance(value, dict):
            merged[key] = merge_usage(earlier, value)
        elif value or not earlier:
            merged[key] = earlier if value is None else value
    return merged


def completion_usage(document: Mapping[str, Any]) -> Any:
    """The usage of a `chat.completion`. Moonshot writes that of a stream into a choice, Groq into `x_groq`."""
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    places = (document, first, document.get("x_groq"))
    usages = (place.get("usage") for place in places if isinstance(place, Mapping))
    return next((usage for usage in usages if isinstance(usage, dict)), None)


def usage_of(answer: Completion) -> UsagePiece:
    """The usage of a whole answer, as a piece."""
    return UsagePiece(answer.input_tokens, answer.output_tokens, answer.cache_read_tokens, answer.cache_write_tokens)


def completion_tokens(usage: Any) -> int | None:
    """The tokens that a model wrote, the reasoning included, which providers bill as output.

    xAI and Gemini leave the reasoning out of `completion_tokens`, and count it in `total_tokens`. Where the reasoning
    is a part of `completion_tokens`, the total is the prompt and the completion.
    """
    written = token_count(usage, "completion_tokens")
    if written is None:
        written = token_count(usage, "output_tokens")
    prompt, total = prompt_tokens(usage), token_count(usage, "total_tokens")
    if prompt is None or total is None or total <= prompt + (written or 0):
        return written
    reasoning = token_count(_details(usage, "completion_tokens_details"), "reasoning_tokens")
    is_sum = reasoning is None or total == prompt + (written or 0) + reasoning
    return total - prompt if is_sum else written


def prompt_tokens(usage: Any) -> int | None:
    """All tokens of the prompt, those of the cache included."""
    count = token_count(usage, "prompt_tokens")
    return token_count(usage, "input_tokens") if count is None else count


def cached_tokens(usage: Any) -> int | None:
    """The tokens of the prompt that came from the provider's cache: at DeepSeek and Moonshot they stand elsewhere."""
    places = (
        (_details(usage, "prompt_tokens_details"), "cached_tokens"), (usage, "prompt_cache_hit_tokens"),
        (usage, "cached_tokens"), (usage, "cache_read_input_tokens"),
    )  # fmt: skip
    return _first_count(places)


def stored_tokens(usage: Any) -> int | None:
    """The tokens of the prompt that were written to the provider's cache."""
    return _first_count(
        ((_details(usage, "prompt_tokens_details"), "cache_write_tokens"), (usage, "cache_creation_input_tokens"))
    )


def _first_count(places: tuple[tuple[Any, str], ...]) -> int | None:
    return next((count for usage, name in places if (count := token_count(usage, name)) is not None), None)


def _details(usage: Any, name: str) -> Any:
    return usage.get(name) if isinstance(usage, dict) else None
