"""What a model takes in a request, by its name, where the configuration says nothing. Pure.

| name at the provider | thinking | sampling parameters |
|---|---|---|
| Claude before 3.7 | none | yes |
| Claude 3.7 to 4.5 | budget | yes |
| Claude 4.6 | adaptive | yes |
| Claude 4.7 and later | adaptive | no |
| OpenAI's reasoning models (o1, o3 ..., gpt-5) | unknown | no |
| any other | unknown | yes |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Thinking(StrEnum):
    """How a request asks a model of Anthropic's protocol to think."""

    NONE = "none"  # it cannot
    BUDGET = "budget"  # by a budget of tokens
    ADAPTIVE = "adaptive"  # by an effort: the model chooses how many tokens


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`thinking` None: unknown. Then a budget is requested, and what a refusal says is learned."""

    thinking: Thinking | None = None
    sampling_params: bool = True


_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:-(\d{1,2})(?!\d))?")
_EMBEDS = re.compile(r"embed|(?:^|/)(?:all-minilm|bge-|e5-|gte-|paraphrase-|voyage-)")
_REASONING = re.compile(r"(?:^|/)(?:o\d|gpt-5)(?!.*chat)")


def known_capabilities(upstream: str) -> Capabilities:
    """The capabilities of the model with that name at its provider."""
    name = upstream.lower().replace(".", "-")
    if match := _CLAUDE.search(name):
        version = int(match[1]), int(match[2] or 0)
        thinking = Thinking.NONE if version < (3, 7) else Thinking.BUDGET if version < (4, 6) else Thinking.ADAPTIVE
        return Capabilities(thinking, version < (4, 7))
    return Capabilities(sampling_params=not _REASONING.search(name))


def is_known_to_embed(upstream: str) -> bool:
    """Whether the model with that name at its provider turns texts into vectors. A reranker does not."""
    name = upstream.lower()
    return _EMBEDS.search(name) is not None and "rerank" not in name
