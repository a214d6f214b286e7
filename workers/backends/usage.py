"""The tokens of an answer, as its provider counts them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.stream_pieces import UsagePiece
from openfall.router_core.jobs.token_usage import Usage
from openfall.workers.backends.exact_json import whole_number
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
    """The usage of a `chat.completion`. Moonshot writes that of a stream into a choice, others into its delta or its
    message, Groq into `x_groq`, gateways to Gemini into `usageMetadata`. An older llama-server has its `timings` alone.
    """
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    inner = (first.get("delta"), first.get("message")) if isinstance(first, Mapping) else ()
    places = (document, first, document.get("x_groq"), *inner)
    usages = [place.get("usage") for place in places if isinstance(place, Mapping)]
    usages += [document.get("usageMetadata"), document.get("timings")]
    return next((usage for usage in usages if isinstance(usage, dict)), None)


def usage_piece(usage: Usage) -> UsagePiece:
    """The usage of an answer, or of its beginning, as a piece."""
    return UsagePiece(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens)


def read_completion_usage(document: Mapping[str, Any]) -> Usage:
    """What a `chat.completion` says that it used.

    More tokens of a cache than of the prompt: a gateway passes on the counts of Anthropic, which exclude the cache."""
    usage = completion_usage(document)
    prompt, read, stored = prompt_tokens(usage), cached_tokens(usage), stored_tokens(usage)
    in_cache = (read or 0) + (stored or 0)
    return Usage(
        input_tokens=prompt if prompt is None or in_cache <= prompt else prompt + in_cache,
        output_tokens=completion_tokens(usage),
        cache_read_tokens=read,
        cache_write_tokens=stored,
        reasoning_tokens=token_count(_details(usage, "completion_tokens_details"), "reasoning_tokens"),
        web_searches=_searches(_details(usage, "server_tool_use")),
        service_tier=_word(document.get("service_tier")),
        cost_nusd=_charged(usage),
    )


def read_response_usage(document: Mapping[str, Any]) -> Usage:
    """What a Response says that it used. Its provider bills each search of the web."""
    usage, output = document.get("usage"), document.get("output")
    items = output if isinstance(output, list) else []
    searches = sum(isinstance(item, Mapping) and item.get("type") == "web_search_call" for item in items[:MAX_SEARCHES])
    reasoning = token_count(_details(usage, "output_tokens_details"), "reasoning_tokens")
    return replace(read_completion_usage(document), reasoning_tokens=reasoning, web_searches=searches or None)


def read_message_usage(document: Mapping[str, Any]) -> Usage:
    """What an Anthropic `message` says that it used. Its `input_tokens` exclude those of the cache."""
    usage = _with_compactions(document.get("usage"))
    uncached, written = token_count(usage, "input_tokens"), token_count(usage, "output_tokens")
    read, stored = (token_count(usage, f"cache_{kind}_input_tokens") for kind in ("read", "creation"))
    fast = _word(_details(usage, "speed")) == "fast"
    return Usage(
        input_tokens=token_count(usage, "prompt_tokens")
        if uncached is None
        else uncached + (read or 0) + (stored or 0),
        output_tokens=completion_tokens(usage) if written is None else written,
        cache_read_tokens=read,
        cache_write_tokens=stored,
        cache_write_1h_tokens=token_count(_details(usage, "cache_creation"), "ephemeral_1h_input_tokens"),
        reasoning_tokens=token_count(_details(usage, "output_tokens_details"), "thinking_tokens"),
        web_searches=_searches(_details(usage, "server_tool_use")),
        service_tier="fast" if fast else _word(_details(usage, "service_tier")),
        cost_nusd=_charged(usage),
    )


MAX_SEARCHES = 1000
"""A call makes fewer searches of the web: a larger number, at its price, would fill every budget that counts it."""


def _searches(use: Any) -> int | None:
    count = token_count(use, "web_search_requests")
    return count if count is None or count <= MAX_SEARCHES else None


MAX_ITERATIONS = 1000


def _with_compactions(usage: Any) -> Any:
    """The usage with the tokens of the summaries that the provider made of a long history. It bills them, and its
    totals exclude them."""
    iterations = _details(usage, "iterations")
    parts = iterations[:MAX_ITERATIONS] if isinstance(iterations, list) else []
    summaries = [part for part in parts if isinstance(part, dict) and part.get("type") == "compaction"]
    if not summaries:
        return usage
    counted = [usage, *summaries]
    sums = {name: sum(token_count(part, name) or 0 for part in counted) for name in _SUMMED}
    return usage | {name: number for name, number in sums.items() if number or name in usage}


_SUMMED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

MAX_CHARGE_USD = 1_000_000.0
"""No call costs more. A provider that states more is not believed."""

TICKS_PER_USD = 10**10
"""Of xAI's `cost_in_usd_ticks`."""


def _charged(usage: Any) -> int | None:
    """What the provider itself charges: the dollars of OpenRouter, Perplexity and DeepInfra, the ticks of xAI.

    With a key of the owner's own (`is_byok`) OpenRouter's is its fee alone: the other provider's charge is added.
    """
    cost = _details(usage, "cost")
    if isinstance(cost, dict):  # Perplexity adds a fee for each request
        cost = cost.get("total_cost")
    if cost is None:
        cost = _details(usage, "estimated_cost")
    if cost is None and (ticks := whole_number(_details(usage, "cost_in_usd_ticks"))) is not None:
        cost = ticks / TICKS_PER_USD
    parts = [cost]
    if _details(usage, "is_byok") is True:
        parts.append(_details(_details(usage, "cost_details"), "upstream_inference_cost"))
    dollars = 0.0
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part <= MAX_CHARGE_USD:
            return None
        dollars += part
    return round(dollars * 1e9)


def _word(value: Any) -> str:
    return value[:32] if isinstance(value, str) else ""


_READ = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "promptTokenCount",
         "prompt_eval_count")  # fmt: skip
_WRITTEN = ("completion_tokens", "output_tokens", "completionTokens", "outputTokens", "candidatesTokenCount",
            "predicted_n", "eval_count", "generated_tokens")  # fmt: skip
_TOTAL = ("total_tokens", "totalTokens", "totalTokenCount")
"""The names of the counts, as servers write them."""


def completion_tokens(usage: Any) -> int | None:
    """The tokens that a model wrote, the reasoning included, which providers bill as output.

    xAI and Gemini leave the reasoning out of `completion_tokens`, and count it in `total_tokens`. Where the reasoning
    is a part of `completion_tokens`, the total is the prompt and the completion.
    """
    written = _first_count(tuple((usage, name) for name in _WRITTEN))
    prompt, total = prompt_tokens(usage), _first_count(tuple((usage, name) for name in _TOTAL))
    if prompt is None or total is None or total < prompt + (written or 0):
        return written
    if total == prompt + (written or 0):
        return written or 0  # Gemini leaves out a count of 0
    reasoning = token_count(_details(usage, "completion_tokens_details"), "reasoning_tokens")
    is_sum = reasoning is None or total == prompt + (written or 0) + reasoning
    return total - prompt if is_sum else written


def prompt_tokens(usage: Any) -> int | None:
    """All tokens of the prompt, those of the cache included."""
    count = _first_count(tuple((usage, name) for name in _READ))
    if count is None and (count := token_count(usage, "prompt_n")) is not None:
        count += token_count(usage, "cache_n") or 0
    if count is not None and (of_tools := token_count(usage, "toolUsePromptTokenCount")):
        count += of_tools  # of Gemini: what its own tools have read
    return count


def cached_tokens(usage: Any) -> int | None:
    """The tokens of the prompt that came from the provider's cache: at DeepSeek, Moonshot and Mistral they stand
    elsewhere."""
    places = (
        (_details(usage, "prompt_tokens_details"), "cached_tokens"), (usage, "prompt_cache_hit_tokens"),
        (usage, "cached_tokens"), (usage, "cache_read_input_tokens"),
        (_details(usage, "input_tokens_details"), "cached_tokens"),
        (_details(usage, "prompt_token_details"), "cached_tokens"), (usage, "num_cached_tokens"),
        (usage, "cachedContentTokenCount"),
    )  # fmt: skip
    return _first_count(places)


def stored_tokens(usage: Any) -> int | None:
    """The tokens of the prompt that were written to the provider's cache."""
    places = (
        (_details(usage, "prompt_tokens_details"), "cache_write_tokens"), (usage, "cache_creation_input_tokens"),
        (_details(usage, "input_tokens_details"), "cache_write_tokens"),
    )  # fmt: skip
    return _first_count(places)


def _first_count(places: tuple[tuple[Any, str], ...]) -> int | None:
    return next((count for usage, name in places if (count := token_count(usage, name)) is not None), None)


def _details(usage: Any, name: str) -> Any:
    return usage.get(name) if isinstance(usage, dict) else None
