"""From a mapping in the file to an entry of the catalog: kinds read its values, the catalog's own rules judge them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from openfall.config.document import Node
from openfall.config.field_types import FieldType, text
from openfall.config.former_keys import has_former_key
from openfall.config.problems import nearest, quoted
from openfall.config.references import References
from openfall.router_core.catalog.entries import Name

Table = Mapping[str, FieldType[Any]]
"""The keys that a mapping may have, and the kind of each."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

NAME_PATTERN = str(get_args(Name)[1].pattern)
_NAME = re.compile(NAME_PATTERN)
_NAME_RULE = "a name has small letters, digits, - and _, begins with a letter or digit, and has at most 63 of them"

_JUDGEMENTS: Mapping[str, str] = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be an address such as http://127.0.0.1:8080",
    "too_short": "must not be empty",
}
"""What the catalog's rules say, in our words and without the value."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[M]):
    """What a mapping of the file may say, and what it becomes.

    `fields`: where the model has another word for a key. `optional`: keys that the model wants and the file need not
    have.
    """

    model: type[M]
    table: Table
    fields: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    def field(self, key: str) -> str:
        """The model's word for a key."""
        return self.fields.get(key, key)

    def write(self, value: M) -> dict[str, Any]:
        """The mapping that reads as this value, every default spelled out; what is not known or empty is left out."""
        held = {key: getattr(value, self.field(key), None) for key in self.table}
        told = {key: self.table[key].write(one) for key, one in held.items() if one is not None}
        return {key: one for key, one in told.items() if one is not None and one not in ([], {})}


def read(place: Node, table: Table) -> dict[str, Any]:
    """The values of a mapping; what could not be read is reported and left out."""
    values = {key: table[key](field) for key, field in place.fields(table).items()}
    return {key: value for key, value in values.items() if value is not None}


def named(place: Node) -> Iterator[tuple[str, Node]]:
    """The entries of a section, by name; a name that cannot be one is reported and left out."""
    for name, entry in place.entries().items():
        if is_name(name):
            yield name, entry
        else:
            place.page.report(entry.line, place.path, f"{quoted(name)} cannot be a name", f"{_NAME_RULE.capitalize()}.")


def is_name(word: str) -> bool:
    """Whether a word may name an entry."""
    return _NAME.fullmatch(word) is not None


def own_name(place: Node) -> str | None:
    """A name that an entry gives itself."""
    told = text(place)
    if told is None or is_name(told):
        return told
    place.report(f"{quoted(place.node.value)} cannot be a name", f"{_NAME_RULE.capitalize()}.")
    return None


def built(entry: Entry[M], place: Node, base: Mapping[str, Any] | None = None) -> M:
    """The entry at a place, on top of the `base` values.

    When a rule is broken, that is reported, and the entry comes without the values that broke it, so that the rest of
    the file can still be checked against it. It never gets into a catalog that is used.
    """
    told = {entry.field(key): value for key, value in read(place, entry.table).items()}
    values = {**(base or {}), **told}
    try:
        return entry.model.model_validate(values)
    except ValidationError as error:
        words = {entry.field(key): key for key in entry.table}
        for fault in error.errors(include_url=False, include_input=False):
            field = str(fault["loc"][0])
            _judge(place, words.get(field, field), fault, entry.table)
            values.pop(field, None)
        return entry.model.model_construct(**values)


def within(entry: Entry[M]) -> FieldType[M]:
    """An entry that stands in another one."""
    return FieldType(lambda place: built(entry, place), {}, entry.write, inside=entry)


def by_name(names: References, kind: FieldType[T]) -> FieldType[dict[str, T]]:
    """A value of that kind for each of some names; a name that is not known is reported and left out."""

    def values(place: Node) -> dict[str, T]:
        told = {}
        for name, entry in place.entries().items():
            if name in names.declared:
                told[name] = kind(entry)
            else:
                entry.report(f"unknown {names.kind} {quoted(name)}", nearest(name, names.declared))
        return {name: value for name, value in told.items() if value is not None}

    shape = {"type": ["object", "null"], "additionalProperties": kind.shape}
    return FieldType(values, shape, lambda told: {name: kind.write(value) for name, value in told.items()})


def _judge(place: Node, key: str, told: ErrorDetails, table: Table) -> None:
    field = place.entries().get(key)
    unknown = place.entries().keys() - table.keys()  # told as such, with the key that they come near to
    if field is not None and told["type"] != "missing":
        for word in told["loc"][1:]:  # as deep as the fault
            field = field.entries().get(str(word), field) if field.is_mapping else field
        wording = _JUDGEMENTS.get(told["type"])
        field.report(wording.format(**told.get("ctx", {})) if wording else told["msg"])
    elif field is None and not get_close_matches(key, unknown, n=1) and not has_former_key(place.path, key, unknown):
        place.report(f"{quoted(key)} is missing", f"Add {key}: to it.")
