"""Kinds of single values. Each reads one place; what it cannot read it reports there, and then returns None."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import yaml

from config.page import NULL, TEXT, Place
from config.problems import nearest, quoted
from config.words import Uninterpolated, interpolate, seconds_of, size_of

T = TypeVar("T")
Kind = Callable[[Place], T | None]

_FLAGS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
_TRAPS = {
    "bool": "one of the words that YAML reads as true or false",
    "int": "a number in YAML",
    "float": "a number in YAML",
    "timestamp": "a date in YAML",
}
WHOLE_DIGITS = 15


def word(place: Place) -> str | None:
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


def text(place: Place) -> str | None:
    """Text. A bare word that YAML 1.1 takes for something else (`no`, `on`, `1:30`) is refused, not guessed at."""
    return _text(place, quoted(place.node.value) if isinstance(place.node, yaml.ScalarNode) else "")


def secret(place: Place) -> str | None:
    """Text that no message may show."""
    return _text(place, "what stands here")


def _text(place: Place, shown: str) -> str | None:
    read = word(place)
    trap = _TRAPS.get(place.node.tag.rpartition(":")[2]) if place.node.tag != TEXT else None
    if read is None or trap is None:
        return read
    place.report(f"must be text, but {shown} without quotes is {trap}", "Put it in quotes.")
    return None


def flag(place: Place) -> bool | None:
    """Yes or no, in any of the words that YAML has for them."""
    return _parsed(place, lambda read: _FLAGS.get(read.lower()), "yes or no")


def seconds(place: Place) -> float | None:
    """A duration: `500ms`, `5s`, `2m`, `1h`, `7d`, or a plain number of seconds."""
    return _parsed(place, seconds_of, "a duration such as 500ms, 5s, 2m, 24h or 7d")


def size(place: Place) -> int | None:
    """A size: `32k`, `4MiB`, or a plain number."""
    return _parsed(place, size_of, "a size such as 4096, 32k or 4MiB")


def whole(place: Place) -> int | None:
    """A whole number."""
    return _parsed(place, _whole, "a whole number such as 4")


def at_least(least: int, kind: Kind[int]) -> Kind[int]:
    """A number of that kind with a lower bound."""

    def bounded(place: Place) -> int | None:
        number = kind(place)
        if number is not None and number < least:
            place.report(f"must be {least} or more, not {number}")
            return None
        return number

    return bounded


def one_of(kind: str, words: Collection[str]) -> Kind[str]:
    """One of a closed set of words."""

    def chosen(place: Place) -> str | None:
        read = text(place)
        if read is None or read in words:
            return read
        place.report(f"unknown {kind} {quoted(place.node.value)}", nearest(read, words))
        return None

    return chosen


def elsewhere(place: Place) -> None:
    """A key that another reader sees to."""


@dataclass(frozen=True, slots=True)
class Names:
    """What may be referred to by name. Of the `declared` ones only the `sound` were readable, which is told once."""

    kind: str
    declared: Collection[str]
    sound: Collection[str]

    def one(self, place: Place) -> str | None:
        """One name."""
        read = one_of(self.kind, self.declared)(place)
        return read if read in self.sound else None

    def many(self, place: Place) -> tuple[str, ...] | None:
        """A list of names; None when none of them can be used."""
        items = place.items()
        read = tuple(name for name in map(self.one, items) if name is not None)
        if not items and not place.is_empty and isinstance(place.node, yaml.SequenceNode):
            place.report("the list is empty", f"Name at least one {self.kind}.")
        return read or None


def _parsed(place: Place, parse: Callable[[str], T | None], wanted: str) -> T | None:
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
