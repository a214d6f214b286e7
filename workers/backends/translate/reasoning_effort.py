"""The effort of reasoning as a budget of thinking tokens, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping

THINKING: Mapping[str, int] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 4096,
    "high": 16384,
    "xhigh": 32768,
    "max": 32768,
}
"""The budget of thinking tokens by OpenAI's `reasoning_effort`. 1024 is Anthropic's minimum. The largest budget and an
answer together are below the limit of every thinking model of Anthropic's."""

MIN_THINKING = 1024

EFFORT: Mapping[str, str] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""OpenAI's effort by Anthropic's. Few servers know an effort above `high`."""


def effort_for(budget: int) -> str:
    """The highest `reasoning_effort` whose budget is not above this one; at most `high`, at least `low`."""
    return "high" if budget >= THINKING["high"] else "medium" if budget >= THINKING["medium"] else "low"


def adaptive_effort_for(budget: int) -> str:
    """Anthropic's effort for the tokens of thinking that a request asks for."""
    return "max" if budget >= THINKING["max"] else effort_for(budget)
