"""Names by which callers know a model without knowing its alias: the ids of providers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

_PREFIX = re.compile(r"^.*/|^(?:[a-z]{2,4}\.)?(?:anthropic|meta|mistral|cohere|amazon|deepseek|qwen|openai)\.")
"""The provider in front of an id: `openrouter/anthropic/`, `us.anthropic.`."""
_SUFFIX = re.compile(r"(?:[-@]\d{8}|[-@]latest|-v\d+(?:-\d+)?)+$")
"""The version behind an id: a date, `latest`, `-v1:0`."""
_OLLAMA_DEFAULTS = ("registry.ollama.ai/", "library/")
"""What an Ollama leaves out of the names that it lists, in this order."""
_LATEST = ":latest"


def same_model(first: str, second: str) -> bool:
    """Whether two names mean the same model at an Ollama, or in the memory of any server. An Ollama takes a name in any
    case, without its own registry, and without the tag `latest` (types/model/name.go, getExistingName)."""
    return _short_name(first) == _short_name(second)


def _short_name(name: str) -> str:
    short = name.casefold()
    for default in _OLLAMA_DEFAULTS:
        short = short.removeprefix(default)
    return short.removesuffix(_LATEST)


def models_meant(name: str, upstreams: Mapping[str, str]) -> tuple[str, ...]:
    """The aliases of the models that an id means, of these models with their upstream names.

    The same id counts more than one of another provider or in another spelling, and that more than one of another date.
    """
    for read in (str.casefold, _plain, _undated):
        meant = tuple(alias for alias, upstream in upstreams.items() if read(name) in (read(upstream), read(alias)))
        if meant:
            return meant
    return ()


def nearest_model(name: str, upstreams: Mapping[str, str]) -> str | None:
    """The alias of the model whose upstream name is nearest to an id; None: none is near."""
    by_id = {_undated(upstream): alias for alias, upstream in upstreams.items()}
    near = get_close_matches(_undated(name), by_id, n=1, cutoff=0.8)
    return by_id[near[0]] if near else None


def _plain(name: str) -> str:
    """An id without its provider, in the spelling of Anthropic: `anthropic/claude-opus-4.6` is `claude-opus-4-6`."""
    return re.sub(r"[.:_ ]", "-", _PREFIX.sub("", name.strip().casefold()))


def _undated(name: str) -> str:
    return _SUFFIX.sub("", _plain(name))
