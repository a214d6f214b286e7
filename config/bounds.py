"""Kinds of values with a bound: what is beyond it is reported, and an editor is told of it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from openfall.config.document import Node
from openfall.config.field_types import FieldType
from openfall.config.shapes import Shape, bounded

T = TypeVar("T")


def at_least(least: int, kind: FieldType[int]) -> FieldType[int]:
    """A number of that kind, `least` or more."""
    wanted = f"must be {least} or more"
    return _bounded(kind, lambda number: number >= least, wanted, {"minimum": least})


def more_than_nothing(kind: FieldType[float]) -> FieldType[float]:
    """A number of that kind above 0."""
    return _bounded(kind, lambda number: number > 0, "must be more than 0", {"exclusiveMinimum": 0})


def at_most_all(kind: FieldType[float]) -> FieldType[float]:
    """A share that is no more than the whole."""
    return _bounded(kind, lambda share: share <= 1, "must be 100% or less", {"maximum": 1})


def not_empty(kind: FieldType[str]) -> FieldType[str]:
    """Text of that kind, and some of it."""
    return _bounded(kind, bool, "must not be empty", {"minLength": 1})


def at_most_long(most: int, kind: FieldType[str]) -> FieldType[str]:
    """Text of that kind, of no more than so many characters."""
    wanted = f"must have no more than {most:,} characters"
    return _bounded(kind, lambda told: len(told) <= most, wanted, {"maxLength": most})


def _bounded(kind: FieldType[T], sound: Callable[[T], bool], message: str, rule: Shape) -> FieldType[T]:
    def read(place: Node) -> T | None:
        value = kind(place)
        if value is None or sound(value):
            return value
        place.report(message.format(value))
        return None

    return replace(kind, read=read, shape=bounded(kind.shape, rule))
