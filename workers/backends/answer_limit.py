"""Reads the refusal of a limit of the answer (`max_tokens`) that is too large for the model. Pure."""

from __future__ import annotations

import re

from openfall.workers.backends import error_words as words

MIN_LIMIT = 256
"""A smaller number in a refusal is no limit of a model."""

_TOO_LARGE = re.compile(words.LIMIT_TOO_LARGE_TEXT, re.IGNORECASE)
_NAME = re.compile(rf"(?i)\b({words.LIMIT_NAMES})\b")
_ABOVE = re.compile(r"(?i)too (large|high)|\brange\b|at most|maximum|exceed|less than or equal|<=|between")
_NUMBER = re.compile(r"(?<![\w.,-])(\d{1,3}(?:,\d{3})+|\d+)(?![\w-]|[.,]\d)( \(exclusive\))?")
_OF_CONTEXT = re.compile(r"(?i)context[ _](length|size|window|limit)\W{0,3}(is|of)?\W{0,3}\d")


_COUNT = r"(?P<{}>\d{{1,3}}(?:,\d{{3}})+|\d+)"
_ROOM = tuple(
    re.compile(form.format(context=_COUNT.format("context"), prompt=_COUNT.format("prompt")), re.IGNORECASE)
    for form in (
        r"context length (?:is|of) {context}\b.*?\b{prompt} (?:tokens )?(?:in|of|from) (?:the |your )?(?:text |input )?"
        r"(?:messages|prompt|input)",
        r"must be <= {context}\. Given: {prompt} `?inputs",
    )
)
"""How OpenAI, vLLM, SGLang, OpenRouter and TGI count a prompt and the limit of its answer into the context."""


def leaves_no_room(detail: str) -> bool:
    """Whether a refusal counts a prompt that fits into the context by itself: only with the limit of its answer it is
    too long."""
    counted = next((match for form in _ROOM if (match := form.search(detail))), None)
    if counted is None:
        return False
    prompt, context = (int(counted[name].replace(",", "")) for name in ("prompt", "context"))
    return prompt < context


def is_limit_too_large(detail: str) -> bool:
    """Whether a refusal says that the limit of the answer is too large, under whatever name."""
    return bool(_TOO_LARGE.search(detail) or (_NAME.search(detail) and _ABOVE.search(detail)))


def stated_limit(detail: str, refused: int) -> int | None:
    """The limit that a refusal of a larger one states: the largest number below that. None: it states none, or that of
    the context. A number within a word is a part of a model's name. `detail`: a status and codes, a colon, the words.
    """
    words_of_refusal = detail.partition(": ")[2]
    if _OF_CONTEXT.search(words_of_refusal) or leaves_no_room(detail):
        return None
    numbers = (int(text.replace(",", "")) - bool(exclusive) for text, exclusive in _NUMBER.findall(words_of_refusal))
    return max((number for number in numbers if MIN_LIMIT <= number < refused), default=None)
