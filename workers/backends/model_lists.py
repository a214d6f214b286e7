"""The names in a list of models, and the sizes of models, as servers write them. Pure."""

from __future__ import annotations

from itertools import islice
from typing import Any

from openfall.router_core.jobs.outcome import Failure
from openfall.workers.backends.parsing import malformed

_LISTS = {"data": ("id", "name", "model"), "models": ("name", "id", "model"), "result": ("name", "id")}
"""Where a list of models has its entries, and by that where an entry has its name."""

MAX_NAMES, MAX_NAME_LENGTH = 10_000, 512
"""How many names of a list are read, and their longest. The longest lists of aggregators have some thousand."""

MAX_GIGABYTES = 1_000_000.0
"""No machine has more memory."""


def parse_gigabytes(value: Any) -> float | None:
    """The memory of a model. None: it is no amount of memory."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= MAX_GIGABYTES else None


def parse_names(document: Any | Failure) -> tuple[str, ...] | Failure:
    """The names in a list of models, in the forms that servers use: `{"data": [{"id": ...}]}` (OpenAI), `{"models":
    [{"name": ...}]}` (Ollama, Gemini), a bare list (Together), `result` (Cloudflare), names alone or as keys. Some
    gateways wrap one of these once more (`{"data": {"models": [...]}}`)."""
    if isinstance(document, Failure):
        return document
    fields = document if isinstance(document, dict) else {"data": document}
    place = _place_in(fields)
    if place is not None and isinstance(inner := fields[place], dict) and (inner_place := _place_in(inner)):
        fields, place = inner, inner_place
    if place is None:
        return malformed("the list of models has no models")
    names = (name for entry in fields[place] for name in _names_of(entry, _LISTS[place]) if is_name(name))
    return tuple(islice(names, MAX_NAMES))


def is_name(value: Any) -> bool:
    """Whether a value may be the name of a model."""
    return isinstance(value, str) and len(value) <= MAX_NAME_LENGTH


def _place_in(fields: dict[str, Any]) -> str | None:
    """Where an object has a list of models; None: it has none."""
    return next((name for name in _LISTS if isinstance(fields.get(name), list | dict)), None)


def _names_of(entry: Any, keys: tuple[str, ...]) -> list[str]:
    """The name of a model in a list, and the further names that a request may use."""
    if isinstance(entry, str):
        return [entry]
    if not isinstance(entry, dict):
        return []
    name = next((name for key in keys if isinstance(name := entry.get(key), str)), None)
    others = entry.get("aliases")
    names = [name, *(others if isinstance(others, list) else ())]
    return [name for name in names if isinstance(name, str)]
