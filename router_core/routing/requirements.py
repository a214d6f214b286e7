"""What a job requires of a model, and why a model cannot serve it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.jobs.embeddings import inputs_of
from openfall.router_core.jobs.prompt_tokens import media_tokens, text_tokens
from openfall.router_core.jobs.request_body import all_text, has_images, has_tools, sampling_parameters, wants_schema
from openfall.router_core.jobs.unchecked_json import Body
from openfall.router_core.vocabulary import Dialect, JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a prompt requires of a model.

    `tokens_at_least` is a lower bound of its length, and `tokens` an estimate for limits of tokens a minute. `sampling`
    names the parameters that it sets (temperature, top_p, top_k): a model that accepts none still serves it, without
    them.
    """

    tokens_at_least: int = 0
    tokens: int = 0
    tools: bool = False
    json_schema: bool = False
    images: bool = False
    sampling: tuple[str, ...] = ()
    kind: JobKind = JobKind.COMPLETION


NOTHING = Requirements()

MAX_TOKEN_BYTES = 128
"""The longest token of a model that completes texts: 128 spaces in OpenAI's `cl100k_base` and `o200k_base`. A run of
one visible sign has 64 in a token there, or fewer. A tokenizer of words, as in models for embeddings, makes one token
of any word."""

_PART_CHARACTERS = 65_536


def requirements_for(body: Body, dialect: Dialect, kind: JobKind = JobKind.COMPLETION) -> Requirements:
    """The requirements of a request body, read in its own dialect."""
    if kind is JobKind.EMBEDDING:
        return _of_embeddings(body)
    texts = tuple(all_text(body))
    tokens_at_least = max(count_words(texts), sum(map(_count_visible, texts)) // MAX_TOKEN_BYTES)
    return Requirements(
        tokens_at_least=tokens_at_least,
        tokens=max(tokens_at_least, text_tokens(texts) + media_tokens(body)),
        tools=has_tools(body),
        json_schema=wants_schema(body),
        images=has_images(body),
        sampling=sampling_parameters(body, dialect),
    )


def _of_embeddings(body: Body) -> Requirements:
    """Each input must fit into the context alone."""
    inputs = inputs_of(body)
    texts = [value for value in inputs if isinstance(value, str)]
    counts = [len(value) for value in inputs if isinstance(value, list)]
    return Requirements(
        tokens_at_least=max([*counts, *(count_words([text]) for text in texts)], default=0),
        tokens=sum(counts) + max(count_words(texts), text_tokens(texts)),
        kind=JobKind.EMBEDDING,
    )


def count_words(texts: Iterable[str]) -> int:
    """A lower bound of the number of tokens: the words between white space.

    Byte-pair and unigram tokenizers split at white space before they merge, so no token spans two words (except in
    research tokenizers that merge across spaces). The bound is far below the truth for Japanese, code and long words,
    and images count nothing. So it refuses only a prompt that cannot fit, and the backend judges the rest. Text that
    may never reach the model does not count (see `request_body.all_text`).
    """
    return sum(map(_count_words, texts))


def _count_visible(text: str) -> int:
    """The characters without the blanks, which a chat template may remove."""
    return len(text) - sum(map(text.count, " \n\r\t"))


def _count_words(text: str) -> int:
    """Counted in parts: the words of a text of 32 MiB would take 1 GB at once, and hold the interpreter."""
    count = 0
    for start in range(0, len(text), _PART_CHARACTERS):
        part = text[start : start + _PART_CHARACTERS]
        continues = start > 0 and not text[start - 1].isspace() and not part[0].isspace()
        count += len(part.split()) - continues
    return count


def incompatibility(spec: ModelSpec, needs: Requirements) -> str | None:
    """Why a model cannot serve the job, for people; None: the catalog gives no reason."""
    if needs.kind is not spec.kind:
        embeds = spec.kind is JobKind.EMBEDDING
        return "it embeds texts and completes none" if embeds else "it completes texts and embeds none"
    if needs.tokens_at_least > spec.context:
        return f"its context is {spec.context} tokens, the prompt has at least {needs.tokens_at_least}"
    if needs.tools and not spec.tools:
        return "it does not support tools"
    if needs.json_schema and not spec.json_schema:
        return "it does not support JSON schemas"
    if needs.images and not spec.images:
        return "it does not support images"
    return None


def ignored_parameters(spec: ModelSpec, needs: Requirements) -> str:
    """The parameters that a model ignores, for people; empty: none."""
    if spec.capabilities.sampling_params or not needs.sampling:
        return ""
    return f"without {', '.join(needs.sampling)}, which it does not accept"
