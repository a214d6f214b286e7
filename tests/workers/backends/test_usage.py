"""Tokens are what the provider counts, wherever it writes them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion
from openfall.workers.backends.anthropic_answer import MessageAssembler
from openfall.workers.backends.base import Request
from openfall.workers.backends.framing import SseFraming
from openfall.workers.backends.openai_answer import CompletionAssembler, to_outcome
from openfall.workers.backends.translate import translate_response
from openfall.workers.backends.usage import merge_usage
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
    "the cache at Moonshot": ({"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 3}, (9, 4, 3)),
    "the newer names": ({"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}, (9, 4, None)),
    "nothing": ({}, (None, None, None)),
}  # fmt: skip


def counts(outcome: object) -> Counts:
    assert isinstance(outcome, Completion)
    return outcome.input_tokens, outcome.output_tokens, outcome.cache_read_tokens


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
    ],
    ids=["at the end", "at the start", "a 0 at the end", "more at the end", "in a choice", "beside it"],
)
def test_the_usage_of_a_stream_is_found_at_either_end(events: list[dict[str, Any]]) -> None:
    body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
    assert counts(assemble_events(body, SseFraming(), CompletionAssembler())) == (9, 4, None)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ({"input_tokens": 1500, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 1500, "output_tokens": 1}, {"output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 1500, "output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 1400, "output_tokens": 1}, {"input_tokens": 1500, "output_tokens": 5}, (1500, 5, None)),
        ({"input_tokens": 20, "cache_read_input_tokens": 80}, {"output_tokens": 5}, (100, 5, 80)),
        (None, {"prompt_tokens": 9, "completion_tokens": 4}, (9, 4, None)),
    ],
)
def test_a_0_at_the_end_of_a_message_replaces_no_count(start: Any, end: Any, expected: Counts) -> None:
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
