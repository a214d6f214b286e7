"""What a job needs of a model, and why a model cannot serve it."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.catalog.entries import ModelSpec
from openfall.router_core.jobs.request_body import (
    Body,
    all_text,
    has_images,
    has_tools,
    sampling_parameters,
    wants_schema,
)
from openfall.router_core.vocabulary import (
    Dialect,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a prompt asks of whoever answers it.

    `tokens_at_least` is a lower bound of its length. `sampling` are the parameters it sets (temperature, top_p, top_k):
    a model that takes none still serves it, without them.
    """

    tokens_at_least: int = 0
    tools: bool = False
    json_schema: bool = False
    images: bool = False
    sampling: tuple[str, ...] = ()


NOTHING = Requirements()


def requirements_for(body: Body, dialect: Dialect) -> Requirements:
    """What a request body needs, read in its own dialect."""
    return Requirements(
        tokens_at_least=estimate_tokens(body),
        tools=has_tools(body),
        json_schema=wants_schema(body),
        images=has_images(body),
        sampling=sampling_parameters(body, dialect),
    )


def estimate_tokens(body: Body) -> int:
    """A number of tokens that no tokenizer stays under: the words between white space.

    Byte-pair and unigram tokenizers split at white space before they merge, so no token reaches over two words (but for
    research ones that merge across spaces). It is far below the truth for Japanese, code and long words, and
    images count nothing: so it refuses only what cannot fit, and the backend judges the rest. What may never reach the
    model is not counted (see `dialect.all_words`).
    """
    return sum(len(text.split()) for text in all_text(body))


def incompatibility(spec: ModelSpec, needs: Requirements) -> str | None:
    """Why a model cannot serve the job, for people; None when it can, as far as one can tell without asking it."""
    if needs.tokens_at_least > spec.context:
        return f"its context is {spec.context} tokens, the prompt has at least {needs.tokens_at_least}"
    if needs.tools and not spec.tools:
        return "it cannot call tools"
    if needs.json_schema and not spec.json_schema:
        return "it cannot hold to a JSON schema"
    if needs.images and not spec.images:
        return "it cannot see images"
    return None


def ignored_parameters(spec: ModelSpec, needs: Requirements) -> str:
    """What a model that serves the job does not heed of it, for people; empty when there is nothing."""
    if spec.sampling_params or not needs.sampling:
        return ""
    return f"without {', '.join(needs.sampling)}, which it does not take"
