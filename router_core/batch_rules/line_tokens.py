"""The tokens of one line of a batch, and of a whole batch, as OpenAI's `usage` of a batch has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from openfall.router_core.jobs.unchecked_json import as_object

MAX_TOKENS = 10**15 - 1
"""What one line adds at most: what a provider reports of itself must not overflow a sum."""


class LineTokens(NamedTuple):
    """`cached` tokens are a part of those of the input, `reasoning` tokens of those of the output."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def plus(self, other: LineTokens) -> LineTokens:
        return LineTokens(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def as_usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


def line_tokens(body: Mapping[str, Any]) -> LineTokens | None:
    """The tokens that the answer of a line reports, in the form of chat completions, Responses or embeddings. None: it
    reports none."""
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return None
    prefixes = ("input", "output") if "input_tokens" in usage else ("prompt", "completion")
    (prompt, of_prompt), (answer, of_answer) = (
        (_count(usage, f"{prefix}_tokens"), usage.get(f"{prefix}_tokens_details")) for prefix in prefixes
    )
    return LineTokens(prompt, _count(of_prompt, "cached_tokens"), answer, _count(of_answer, "reasoning_tokens"))


def _count(counts: Any, name: str) -> int:
    count = as_object(counts).get(name)
    return min(MAX_TOKENS, max(0, count)) if isinstance(count, int) else 0
