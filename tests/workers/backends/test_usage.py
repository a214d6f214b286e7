"""Tokens are what the provider counts, wherever it writes them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.jobs.token_usage import NO_USAGE, Usage
from openfall.workers.backends.anthropic_answer import MessageAssembler
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.openai_answer import CompletionAssembler, to_outcome
from openfall.workers.backends.translate import translate_response
from openfall.workers.backends.usage import merge_usage, read_completion_usage
from tests.workers.backends.assembled import assemble_events

Counts = tuple[int | None, int | None, int | None]

XAI = {
    "prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428,
    "prompt_tokens_details": {"cached_tokens": 128}, "completion_tokens_details": {"reasoning_tokens": 2809},
}  # fmt: skip
OPENAI = {
    "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
    "completion_tokens_details": {"reasoning_tokens": 40},
}  # fmt: skip
USAGES: dict[str, tuple[dict[str, Any], Counts]] = {
    "reasoning beside the completion (xAI)": (XAI, (10120, 4308, 128)),
    "reasoning within the completion (OpenAI)": (OPENAI, (100, 50, None)),
    "reasoning in the total alone (Gemini)": (
        {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 22}, (9, 13, None)
    ),
    "nothing but reasoning (Gemini)": ({"prompt_tokens": 9, "total_tokens": 22}, (9, 13, None)),
    "a total of another kind": (OPENAI | {"total_tokens": 170}, (100, 50, None)),
    "no total": ({"prompt_tokens": 9, "completion_tokens": 4}, (9, 4, None)),
    "the cache at DeepSeek": (
        {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 4},
        (9, 4, 5),
    ),
    "the cache at Mistral": ({"prompt_tokens": 9, "completion_tokens": 4, "num_cached_tokens": 3}, (9, 4, 3)),
    "the cache at Mistral, in details": (
        {"prompt_tokens": 9, "completion_tokens": 4, "prompt_token_details": {"cached_tokens": 3}}, (9, 4, 3)
    ),
    "the cache at Moonshot": ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 3}, (9, 4, 3)),
    "whole numbers as floats": ({"prompt_tokens": 9.0, "completion_tokens": 4.0, "total_tokens": 13.0}, (9, 4, None)),
    "numbers as texts": ({"prompt_tokens": "9", "completion_tokens": "4"}, (9, 4, None)),
    "values that are no numbers of tokens": ({"prompt_tokens": True, "completion_tokens": 4.5}, (None, None, None)),
    "texts that are no numbers": ({"prompt_tokens": "-9", "completion_tokens": "4" * 40}, (None, None, None)),
    "more tokens than a call can have": ({"prompt_tokens": 1e300, "completion_tokens": 10**9 + 1}, (None, None, None)),
    "more in the cache than in the prompt": (
        {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 100}}, (109, 4, 100)
    ),
    "the counts of Anthropic in a completion": (
        {"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20},
        (129, 4, 100),
    ),
    "the whole prompt is in the cache": ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 9}, (9, 4, 9)),
    "the newer names": ({"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}, (9, 4, None)),
    "nothing": ({}, (None, None, None)),
}  # fmt: skip


def counts(outcome: object) -> Counts:
    assert isinstance(outcome, Completion)
    return outcome.usage.input_tokens, outcome.usage.output_tokens, outcome.usage.cache_read_tokens


@pytest.mark.parametrize(("usage", "expected"), USAGES.values(), ids=USAGES.keys())
def test_the_tokens_of_an_answer_are_those_that_are_billed(usage: dict[str, Any], expected: Counts) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
    outcome = to_outcome({"choices": [choice], "usage": usage})
    assert counts(outcome) == expected
    translated = translate_response(outcome, Request(body={}, upstream="m", timeout=1, dialect="anthropic"), "openai")
    assert isinstance(translated, Completion)
    assert translated.body["usage"]["output_tokens"] == (expected[1] or 0)


PIECE = {"choices": [{"index": 0, "delta": {"content": "A"}, "finish_reason": "stop"}]}
PLAIN = {"prompt_tokens": 9, "completion_tokens": 4}


@pytest.mark.parametrize(
    "events",
    [
        [PIECE, {"choices": [], "usage": PLAIN}],
        [PIECE | {"usage": PLAIN}, {"choices": [], "usage": None}],
        [PIECE | {"usage": PLAIN}, {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}],
        [PIECE | {"usage": {"prompt_tokens": 9, "completion_tokens": 1}}, {"choices": [], "usage": PLAIN}],
        [PIECE, {"choices": [{"index": 0, "delta": {}, "usage": PLAIN}]}],
        [PIECE, {"choices": [], "x_groq": {"usage": PLAIN}}],
        [PIECE, {"choices": [{"index": 0, "delta": {"usage": PLAIN}}]}],
    ],
    ids=["at the end", "at the start", "a 0 at the end", "more at the end", "in a choice", "beside it", "in a delta"],
)
def test_the_usage_of_a_stream_is_found_at_either_end(events: list[dict[str, Any]]) -> None:
    body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
    assert counts(assemble_events(body, SseFraming(), CompletionAssembler())) == (9, 4, None)


SUMMARY = {"type": "compaction", "input_tokens": 700, "output_tokens": 20, "cache_read_input_tokens": 0}
TURN = {"type": "message", "input_tokens": 9, "output_tokens": 4}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ({"input_tokens": 1500, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 1500, "output_tokens": 1}, {"output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 1500, "output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 1400, "output_tokens": 1}, {"input_tokens": 1500, "output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 20, "cache_read_input_tokens": 80}, {"output_tokens": 5}, (100, 5, 80)),
        (None, {"prompt_tokens": 9, "completion_tokens": 4}, (9, 4, None)),
        ({"input_tokens": 9, "output_tokens": 1}, {"output_tokens": 4, "iterations": [SUMMARY, TURN]}, (709, 24, None)),
        ({"input_tokens": 9, "output_tokens": 1}, {"output_tokens": 4, "iterations": [TURN, 7]}, (9, 4, None)),
        (
            {"input_tokens": 9, "output_tokens": 1},
            {"output_tokens": 4, "iterations": [SUMMARY | {"cache_read_input_tokens": 50}, SUMMARY]},
            (1459, 44, 50),
        ),
    ],
)
def test_the_usage_of_a_message_is_that_of_both_ends_and_of_its_summaries(
    start: Any, end: Any, expected: Counts
) -> None:
    message = {"content": [], "stop_reason": None, "usage": start}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "A"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
    ]
    body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
    assert counts(assemble_events(body, SseFraming(), MessageAssembler())) == expected


@pytest.mark.parametrize("value", [None, 3, "x", []])
def test_a_usage_of_another_type_replaces_nothing_that_is_needed(value: Any) -> None:
    assert merge_usage({"a": 1}, None) == {"a": 1}
    assert merge_usage(value, {"a": 1}) == {"a": 1}


def test_openrouter_states_what_it_charges_itself() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "cost": 0.00012345}
    assert to_outcome({"choices": [choice], "usage": usage}).usage.cost_nusd == 123_450
    byok = usage | {"is_byok": True, "cost": 0.000001, "cost_details": {"upstream_inference_cost": 0.0002}}
    assert to_outcome({"choices": [choice], "usage": byok}).usage.cost_nusd == 201_000
    for cost in ("0.1", True, -1, 1e12, None, float("nan")):
        assert to_outcome({"choices": [choice], "usage": usage | {"cost": cost}}).usage.cost_nusd is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"cost": {"request_cost": 0.005, "total_cost": 0.305}}, 305_000_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        ({"cost_in_usd_ticks": 25_000_000_000}, 2_500_000_000),
        ({"estimated_cost": 0.0000268}, 26_800),
        ({"cost": 0, "estimated_cost": 0.1}, 0),
        ({"cost": {"total": 0.305}}, None),
        ({"cost_in_usd_ticks": -1}, None),
        ({"estimated_cost": "0.1"}, None),
    ],
    ids=["Perplexity", "xAI", "xAI above a dollar", "DeepInfra", "free", "no total", "below zero", "a text"],
)
def test_other_providers_state_what_they_charge_in_their_own_fields(more: dict[str, Any], expected: int | None) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
    assert to_outcome({"choices": [choice], "usage": PLAIN | more}).usage.cost_nusd == expected


@pytest.mark.parametrize("usage", [{"prompt_tokens": 9, "total_tokens": 9}, {"completion_tokens": 0}])
def test_no_token_is_a_count_for_an_answer_without_a_text_alone(usage: dict[str, int]) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}
    assert to_outcome({"choices": [choice], "usage": usage}).usage.output_tokens is None
    assert to_outcome({"choices": [choice], "usage": {"prompt_tokens": 9}}).usage.output_tokens is None
    choice["message"] = {"role": "assistant", "content": ""}
    assert to_outcome({"choices": [choice], "usage": usage}).usage.output_tokens == 0


def test_a_refusal_and_a_filtered_answer_carry_what_they_used() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4}
    refusal = {"message": {"role": "assistant", "content": None, "refusal": "No."}, "finish_reason": "stop"}
    filtered = {"message": {"role": "assistant", "content": "A"}, "finish_reason": "content_filter"}
    for choice in (refusal, filtered):
        outcome = to_outcome({"choices": [choice], "usage": usage, "service_tier": "flex"})
        assert isinstance(outcome, Failure)
        assert (outcome.usage.output_tokens, outcome.usage.service_tier) == (4, "flex")


MESSAGE_START = {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 20, "output_tokens": 1}}}
REFUSED = {
    "type": "message_delta", "delta": {"stop_reason": "refusal"},
    "usage": {
        "output_tokens": 7, "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens_details": {"thinking_tokens": 3}, "server_tool_use": {"web_search_requests": 2}, "speed": "fast",
    },
}  # fmt: skip


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def test_a_streamed_refusal_of_anthropic_carries_every_part_that_is_billed() -> None:
    outcome = assemble_events(stream(MESSAGE_START, REFUSED), SseFraming(), MessageAssembler())
    assert isinstance(outcome, Failure)
    assert outcome.usage == Usage(
        input_tokens=50, output_tokens=7, cache_write_tokens=30, cache_write_1h_tokens=20, reasoning_tokens=3,
        web_searches=2, service_tier="fast",
    )  # fmt: skip


def test_the_count_at_the_start_of_a_stream_that_breaks_is_no_cost() -> None:
    outcome = assemble_events(stream(MESSAGE_START), SseFraming(), MessageAssembler())
    assert isinstance(outcome, Failure)
    assert outcome.usage == NO_USAGE
    partial = {"choices": [{"delta": {"content": "A"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    cut = assemble_events(stream(partial), SseFraming(), CompletionAssembler())
    assert isinstance(cut, Failure)
    assert cut.usage == NO_USAGE


def test_an_error_after_the_usage_of_a_stream_is_paid_for() -> None:
    last = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
    error = {"error": {"message": "overloaded", "code": 529}}
    outcome = assemble_events(stream(last, error), SseFraming(), CompletionAssembler())
    assert isinstance(outcome, Failure)
    assert outcome.usage.output_tokens == 5


def test_what_the_own_tools_of_gemini_have_read_is_a_part_of_the_prompt() -> None:
    counts = {
        "promptTokenCount": 100, "toolUsePromptTokenCount": 20, "cachedContentTokenCount": 64,
        "candidatesTokenCount": 10, "thoughtsTokenCount": 40, "totalTokenCount": 170,
    }  # fmt: skip
    usage = read_completion_usage({"usageMetadata": counts})
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (120, 50, 64)
