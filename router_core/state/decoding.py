"""Reads values of Redis. Another program, or a newer openfall, may have written any of them: none raises an error.

What cannot be read counts as unknown, and is noted (see unreadable_notes.py). An empty value counts as absent. A word
that this version does not know is carried as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from openfall.router_core.state.unreadable_notes import note_unreadable
from openfall.router_core.unknown_words import carry_word
from openfall.router_core.vocabulary import HoldReason

MAX_MOMENT_MS = 253402300799000
"""The end of the year 9999: no calendar goes on after it."""
_MAX_NUMBER = 2**53

EpochSeconds = Annotated[int, Field(ge=0, le=MAX_MOMENT_MS // 1000)]
"""A moment in a stored model: one outside any calendar makes it unreadable."""

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


def read_text(value: bytes | None) -> str:
    """A text. Bytes that are no UTF-8 are shown as `\\ufffd`; nothing is the empty text."""
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        note_unreadable("is no UTF-8")
        return (value or b"").decode(errors="replace")


def read_number(value: bytes | int | None, default: int = 0) -> int:
    """A whole number; `default` for any other value, or one out of range."""
    try:
        number = int(value or default)
    except ValueError:
        number = _MAX_NUMBER
    if abs(number) < _MAX_NUMBER:
        return number
    note_unreadable("is no whole number")
    return default


def read_moment(value: bytes | int | None) -> float:
    """Epoch seconds of a moment in milliseconds; 0 for any other value."""
    number = read_number(value)
    if 0 <= number <= MAX_MOMENT_MS:
        return number / 1000
    note_unreadable("is no moment")
    return 0.0


def read_json(value: bytes | None) -> Any:
    """A JSON value; None for any other text."""
    try:
        return from_json(value or b"null")
    except ValueError:
        note_unreadable("is no JSON")
        return None


def read_object(value: bytes | None) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    decoded = read_json(value)
    if decoded is None or isinstance(decoded, dict):
        return decoded
    note_unreadable("is no JSON object")
    return None


def read_model(kind: type[Model], value: bytes | None) -> Model | None:
    """A model of pydantic; None: there is no value, or it cannot be read."""
    if value is None:
        return None
    try:
        return kind.model_validate_json(value)
    except ValidationError:
        note_unreadable("has another shape")
        return None


def read_reports(reply: Sequence[bytes]) -> dict[str, dict[str, Any]]:
    """A hash as HGETALL returns it, of what workers wrote down about backends or models: JSON objects with `at` (epoch
    seconds). An unreadable value is left out: its writer repeats it soon."""
    reports = {}
    for name, value in zip(reply[::2], reply[1::2], strict=True):
        fields = read_object(value)
        at = None if fields is None else fields.get("at")
        if fields is not None and isinstance(at, int | float) and 0 <= at <= MAX_MOMENT_MS / 1000:
            reports[read_text(name)] = fields
        elif fields is not None:
            note_unreadable("has another shape")
    return reports


def read_objects(rows: Iterable[bytes], build: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """What `build` makes of each JSON object. Other rows, and rows that it cannot use, are left out."""
    for row in rows:
        fields = read_object(row)
        if fields is not None:
            try:
                yield build(fields)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
                note_unreadable("has another shape")


def read_hold_reason(value: bytes | None) -> HoldReason:
    """The reason of a fall or a hold. One of a newer openfall is carried; without one the job is unreadable."""
    return carry_word(HoldReason, read_text(value) or HoldReason.UNREADABLE.value)
