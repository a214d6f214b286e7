"""What a job needs of a model, and why a model cannot serve it."""

from __future__ import annotations

from dataclasses import dataclass

from router_core.catalog import ModelSpec
from router_core.dialect import Body, all_words, has_images, has_tools, sampling, wants_schema
from router_core.job import Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a prompt asks of whoever answers it.

    `tokens_at_least` is a lower bound of its length. `sampling` are the parameters it sets (temperature, top_p, top_k):
    a model that takes none still serves it, without them.
    """

    tokens_at_least: int = 0
    tools: bool = False
    json_schema: bool = False
    images: bool = False
    sampling: tuple[str, ...] = ()


NOTHING = Needs()


def needs_of(body: Body, dialect: Dialect) -> Needs:
    """What a request body needs, read in its own dialect."""
    return Needs(
        tokens_at_least=tokens_at_least(body),
        tools=has_tools(body),
        json_schema=wants_schema(body),
        images=has_images(body),
        sampling=sampling(body, dialect),
    )


def tokens_at_least(body: Body) -> int:
    """A number of tokens that no tokenizer stays under: the words between white space.

    Byte-pair and unigram tokenizers split at white space before they merge, so no token reaches over two words (but for
    research ones that merge across spaces). It is far below the truth for Japanese, code and long words, and
    images count nothing: so it refuses only what cannot fit, and the backend judges the rest. What may never reach the
    model is not counted (see `dialect.all_words`).
    """
    return sum(len(text.split()) for text in all_words(body))


def misfit(spec: ModelSpec, needs: Needs) -> str | None:
    """Why a model cannot serve the job, for people; None when it can, as far as one can tell without asking it."""
    if needs.tokens_at_least > spec.ctx:
        return f"its context is {spec.ctx} tokens, the prompt has at least {needs.tokens_at_least}"
    if needs.tools and not spec.tools:
        return "it cannot call tools"
    if needs.json_schema and not spec.json_schema:
        return "it cannot hold to a JSON schema"
    if needs.images and not spec.images:
        return "it cannot see images"
    return None


def left_aside(spec: ModelSpec, needs: Needs) -> str:
    """What a model that serves the job does not heed of it, for people; empty when there is nothing."""
    if spec.sampling_params or not needs.sampling:
        return ""
    return f"without {', '.join(needs.sampling)}, which it does not take"
