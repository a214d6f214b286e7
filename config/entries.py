"""From a mapping in the file to an entry of the catalog: kinds read its values, the catalog's own rules judge them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.page import Place
from config.problems import quoted
from router_core.catalog import Name

Table = Mapping[str, Callable[[Place], Any]]
"""The keys that a mapping may have, and the kind of each."""

M = TypeVar("M", bound=BaseModel)

_NAME = re.compile(get_args(Name)[1].pattern)
_NAME_RULE = "a name has small letters, digits, - and _, begins with a letter or digit, and has at most 63 of them"

_JUDGEMENTS: Mapping[str, str] = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be an address such as http://127.0.0.1:8080",
}
"""What the catalog's rules say, in our words and without the value."""


def read(place: Place, table: Table) -> dict[str, Any]:
    """The values of a mapping; what could not be read is reported and left out."""
    values = {key: table[key](field) for key, field in place.fields(table).items()}
    return {key: value for key, value in values.items() if value is not None}


def named(place: Place) -> Iterator[tuple[str, Place]]:
    """The entries of a section, by name; a name that cannot be one is reported and left out."""
    for name, entry in place.entries().items():
        if _NAME.fullmatch(name):
            yield name, entry
        else:
            place.page.report(entry.line, place.path, f"{quoted(name)} cannot be a name", f"{_NAME_RULE.capitalize()}.")


def built(model: type[M], place: Place, table: Table, base: Mapping[str, Any] | None = None) -> M:
    """The entry at a place, on top of the `base` values.

    When a rule is broken, that is reported, and the entry comes without the values that broke it, so that the rest of
    the file can still be checked against it. It never gets into a catalog that is used.
    """
    values = {**(base or {}), **read(place, table)}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for told in error.errors(include_url=False, include_input=False):
            _judge(place, told)
            values.pop(str(told["loc"][0]), None)
        return model.model_construct(**values)


def _judge(place: Place, told: ErrorDetails) -> None:
    key = str(told["loc"][0])
    field = place.entries().get(key)
    if field is not None and told["type"] != "missing":
        wording = _JUDGEMENTS.get(told["type"])
        field.report(wording.format(**told.get("ctx", {})) if wording else told["msg"])
    elif field is None and not get_close_matches(key, place.entries(), n=1):  # else it is there, but misspelt
        place.report(f"{quoted(key)} is missing", f"Add {key}: to it.")
