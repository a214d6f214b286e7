"""Kinds of single values: how each is read, how it is written, and how an editor is told what may stand there.

Reading reports what is wrong at the place, and then gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import yaml

from openfall.config.document import NULL, TEXT, Node
from openfall.config.former_keys import REMEDIES
from openfall.config.literals import (
    Uninterpolated,
    duration_word,
    interpolate,
    number_of,
    rate_of,
    rate_word,
    seconds_of,
    share_of,
    size_of,
    size_word,
)
from openfall.config.problems import nearest, quoted
from openfall.config.shapes import Shape, any_case, either

T = TypeVar("T")
_FLAGS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_TRAPS = {
    "bool": "one of the words that YAML reads as true or false",
    "int": "a number in YAML",
    "float": "a number in YAML",
    "timestamp": "a date in YAML",
}
WHOLE_DIGITS = 15


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class FieldType(Generic[T]):
    """One kind of value. `write` gives what `read` reads back; `about` is for whoever edits the file.

    `inside`: where a mapping stands, the keys that it may have (an `Entry` or a table); its shape follows from them.
    """

    read: Callable[[Node], T | None]
    shape: Shape
    write: Callable[[Any], Any] = _as_it_is
    about: str = ""
    inside: Any = None

    def __call__(self, place: Node) -> T | None:
        return self.read(place)

    def meaning(self, about: str) -> FieldType[T]:
        """This kind, for a key that means just that."""
        return replace(self, about=about)


def word(place: Node) -> str | None:
    """Whatever single value stands here, as it is written, with its variables filled in."""
    if not isinstance(place.node, yaml.ScalarNode):
        kind = "mapping" if isinstance(place.node, yaml.MappingNode) else "list"
        place.report(f"must be a single value, not a {kind}")
        return None
    if place.node.tag == NULL:
        place.report("nothing stands here", "Write a value, or remove the key.")
        return None
    try:
        return interpolate(place.node.value, place.page.environ)
    except Uninterpolated as error:
        place.report(str(error), error.remedy)
        return None


def _text(place: Node) -> str | None:
    return _no_trap(place, quoted(place.node.value) if isinstance(place.node, yaml.ScalarNode) else "")


def _secret(place: Node) -> str | None:
    return _no_trap(place, "what stands here")


def _no_trap(place: Node, shown: str) -> str | None:
    read = word(place)
    trap = _TRAPS.get(place.node.tag.rpartition(":")[2]) if place.node.tag != TEXT else None
    if read is None or trap is None:
        return read
    place.report(f"must be text, but {shown} without quotes is {trap}", "Put it in quotes.")
    return None


def written(text: str) -> str:
    """Text as a file has it: a `$` is doubled, so that nothing is filled in."""
    return text.replace("$", "$$")


def _parsed(place: Node, parse: Callable[[str], T | None], wanted: str) -> T | None:
    """The parsed value. Messages show what the file says, not what a variable held."""
    read = word(place)
    if read is None:
        return None
    value = parse(read.strip())
    if value is None:
        place.report(f"must be {wanted}, not {quoted(place.node.value)}")
    return value


def _whole(read: str) -> int | None:
    digits = read.removeprefix("-")
    return int(read) if digits.isascii() and digits.isdigit() and len(digits) <= WHOLE_DIGITS else None


text: FieldType[str] = FieldType(_text, {"type": "string"}, written)
"""Text. A bare word that YAML 1.1 takes for something else (`no`, `on`, `1:30`) is refused, not guessed at."""

secret: FieldType[str] = FieldType(_secret, {"type": "string"}, written)
"""Text that no message may show."""

literal: FieldType[str] = FieldType(word, {"type": "string"}, written)
"""Text as it is written, whatever YAML would make of it: a version that looks like a date stays what it is."""

flag: FieldType[bool] = FieldType(
    lambda place: _parsed(place, lambda read: _FLAGS.get(read.lower()), "yes or no"),
    either({"type": "boolean"}, {"enum": sorted(_FLAGS)}, {"type": "string", "pattern": any_case(*_FLAGS)}),
)
"""Yes or no, in any of the words that YAML has for them."""

seconds: FieldType[float] = FieldType(
    lambda place: _parsed(place, seconds_of, "a duration such as 500ms, 5s, 2m, 24h or 7d"),
    either({"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)? ?(ms|s|m|h|d)?$"}),
    duration_word,
)
"""A duration: `500ms`, `5s`, `2m`, `1h`, `7d`, or a plain number of seconds."""

size: FieldType[int] = FieldType(
    lambda place: _parsed(place, size_of, "a size such as 4096, 32k or 4MiB"),
    either({"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)? ?([kKmMgG]i?)?[bB]?$"}),
)
"""A size in tokens: `32k`, or a plain number."""

size_in_bytes: FieldType[int] = replace(size, write=size_word)
"""A size in bytes: `4MiB`, or a plain number."""

whole: FieldType[int] = FieldType(
    lambda place: _parsed(place, _whole, "a whole number such as 4"),
    either({"type": "integer"}, {"type": "string", "pattern": r"^-?\d+$"}),
)
"""A whole number."""

number: FieldType[float] = FieldType(
    lambda place: _parsed(place, number_of, "a number such as 0.5"),
    either({"type": "number"}, {"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}),
)
"""A number."""

share: FieldType[float] = FieldType(
    lambda place: _parsed(place, share_of, "a share such as 0.5 or 50%"),
    either({"type": "number"}, {"type": "string", "pattern": r"^([01](\.\d+)?|(\d{1,2}(\.\d+)?|100) ?%)$"}),
)
"""A part of a whole: `0.85`, or `85%`."""

rate: FieldType[tuple[int, float]] = FieldType(
    lambda place: _parsed(place, rate_of, "a rate such as 1 per 10m"),
    either({"type": "string", "pattern": r"^\d+ per .+$"}),
    rate_word,
)
"""So many in so many seconds: `1 per 10m`."""


def one_of(kind: str, words: Collection[str]) -> FieldType[str]:
    """One of a closed set of words."""
    return FieldType(lambda place: chosen(place, kind, words), either({"enum": [str(known) for known in words]}), str)


def chosen(place: Node, kind: str, words: Collection[str]) -> str | None:
    """The word of this set that stands here; any other is reported with the nearest."""
    read = _text(place)
    if read is None or read in words:
        return read
    renamed = REMEDIES.get(read) if kind == "remedy" else None
    remedy = f"{read} is now {renamed}." if renamed else nearest(read, words)
    place.report(f"unknown {kind} {quoted(place.node.value)}", remedy)
    return None


def yes_no_or(third: str) -> FieldType[str]:
    """Yes or no, in any of YAML's words, or a third word; read as `yes`, `no` or that word."""

    def parse(read: str) -> str | None:
        told = _FLAGS.get(read.lower())
        return third if read == third else None if told is None else "yes" if told else "no"

    shape = {**flag.shape, "anyOf": [{"enum": [str(third)]}, *flag.shape["anyOf"]]}
    return FieldType(lambda place: _parsed(place, parse, f"yes, no or {third}"), shape, str)


def listed(kind: FieldType[T]) -> FieldType[tuple[T, ...]]:
    """A list of values of one kind, which may be empty."""

    def many(place: Node) -> tuple[T, ...] | None:
        items = place.items()
        values = tuple(value for value in map(kind, items) if value is not None)
        return values if values or place.is_list else None

    return FieldType(
        many, {"type": "array", "items": kind.shape}, lambda values: [kind.write(value) for value in values]
    )


def whole_list(kind: FieldType[T]) -> FieldType[tuple[T, ...]]:
    """A list whose order and end matter: it is taken whole, or not at all."""
    many = listed(kind)

    def every(place: Node) -> tuple[T, ...] | None:
        values = many(place)
        return values if values is not None and len(values) == len(place.items()) else None

    return replace(many, read=every)


def elsewhere(kind: FieldType[T]) -> FieldType[T]:
    """A key that another reader sees to."""
    return replace(kind, read=lambda place: None)
