"""How large a JSON text may be beside its bytes: how many values it has, and how deep they are nested. Pure.

The reasons and the figures are in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

MAX_VALUES = 300_000
"""Of one JSON text: its commas, colons and opening brackets. Reading this number takes 10 to 85 ms and 30 MB."""

MAX_PARTS = 100_000
"""Names, texts, lists and objects of a request. Reading this number takes 20 to 45 ms; 300,000 numbers take 12 ms."""

MAX_RESULT_VALUES = 2_000_000
"""Of a kept result: more than any streamed answer that a worker assembles."""

MAX_DIGITS = 400
"""Of one number. To read or write an integer takes time that grows with the square of its digits."""

MAX_DEPTH = 100
"""Levels of lists and objects in one JSON text. Python code that visits it calls itself for each level, up to 1,000."""

_CONTAINERS = (dict, list, tuple)  # a union would be made again for each value
_MANY_BRACKETS, _FLAT_LEVELS = 5_000, 8
_OTHER_THAN_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MAX_PLACE = 60
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * (MAX_DIGITS + 1)
_BLOCK_BYTES = 2**18


class JsonTooLarge(ValueError):
    """A JSON text has too many values or a number that is too long, or is nested too deeply. The message continues a
    sentence: `the answer` ..."""


def count_values(raw: bytes) -> int:
    """An upper bound of the values in a JSON text: no text of N bytes is parsed for it."""
    return len(raw) - len(raw.translate(None, b",:{["))  # one pass, faster than four counts


def check_values(raw: bytes, limit: int = MAX_VALUES) -> None:
    """Raise `JsonTooLarge` if a JSON text has more values than the limit, or a number that is too long. Signs within
    its strings do not count, and a text whose length is within the limit is never too large."""
    if len(raw) <= limit:
        return
    _check_numbers(raw)
    if count_values(raw) <= limit:
        return
    values = 0
    for outside, quotes in _without_strings(raw):
        values += count_values(outside)
        if values > limit or quotes > 2 * limit + 1:
            raise JsonTooLarge(f"has more than {limit:,} values")


def _check_numbers(raw: bytes) -> None:
    """Raise `JsonTooLarge` for a number of more than `MAX_DIGITS`. A look at each string takes longer, so it is made
    only if the text has as many digits in a row somewhere."""
    if _LONG_NUMBER in raw.translate(_DIGITS):
        for outside, _ in _without_strings(raw):
            if _LONG_NUMBER in outside.translate(_DIGITS):
                raise JsonTooLarge(f"has a number of more than {MAX_DIGITS} digits")


def check_parts(raw: bytes, limit: int = MAX_PARTS) -> None:
    """Raise `JsonTooLarge` if a JSON text has more names, texts, lists and objects than the limit. These take longer
    to read than numbers do."""
    if len(raw) <= limit or len(raw) - len(raw.translate(None, b'"{[')) <= limit:
        return
    brackets = 0
    for outside, quotes in _without_strings(raw):
        brackets += outside.count(b"{") + outside.count(b"[")
        if brackets + quotes // 2 > limit:
            raise JsonTooLarge(f"has more than {limit:,} names, texts, lists and objects")


def _without_strings(raw: bytes) -> Iterator[tuple[bytes, int]]:
    """A JSON text in blocks without its strings, each with the number of quotes up to its end.

    It takes a fixed number of passes: a pattern for strings starts again at each quote of one that does not end.
    """
    without_escapes = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    quotes = 0
    for start in range(0, len(without_escapes), _BLOCK_BYTES):
        pieces = without_escapes[start : start + _BLOCK_BYTES].split(b'"')  # every second one is in a string
        outside = b"".join(pieces[quotes % 2 :: 2])
        quotes += len(pieces) - 1
        yield outside, quotes


def check_depth(raw: bytes, value: object) -> None:
    """Raise `JsonTooLarge` if the value of a JSON text is nested too deeply. Few texts need a look at the value."""
    opened = 0 if len(raw) <= 2 * MAX_DEPTH else raw.count(b"{") + raw.count(b"[")
    if opened <= MAX_DEPTH or (opened > _MANY_BRACKETS and _is_flat(raw)):
        return
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):  # the list around the value is one more
        items = chain.from_iterable([each.values() if isinstance(each, dict) else each for each in level])
        level = [item for item in items if isinstance(item, _CONTAINERS)]
        if not level:
            return
    raise JsonTooLarge(f"is nested more than {MAX_DEPTH} levels deep")


def _is_flat(raw: bytes) -> bool:
    """Whether a JSON text has no more than `_FLAT_LEVELS` levels: each pass removes the innermost pairs of brackets. It
    takes a tenth of the time of a walk through 300,000 values."""
    brackets = b"".join(outside.translate(None, _OTHER_THAN_BRACKETS) for outside, _ in _without_strings(raw))
    for _ in range(_FLAT_LEVELS):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return not brackets


def deep_place(body: Mapping[str, Any]) -> str:
    """The beginning of the path of the first value that is nested too deeply; empty: there is none."""
    pending: list[tuple[str, object, int]] = [(name, value, 2) for name, value in reversed(list(body.items()))]
    while pending:
        path, value, level = pending.pop()
        if isinstance(value, dict | list | tuple) and level > MAX_DEPTH:
            return shorten_place(path)
        if isinstance(value, dict):
            pending += [(f"{path}.{name}", item, level + 1) for name, item in reversed(value.items())]
        elif isinstance(value, list | tuple):
            pending += [(f"{path}[{number}]", item, level + 1) for number, item in reversed(list(enumerate(value)))]
    return ""


def wide_place(body: Mapping[str, Any]) -> str:
    """The field of a body that has the most values."""
    return shorten_place(max(body, key=lambda name: _count(body[name])))


def shorten_place(path: str) -> str:
    return path if len(path) <= _MAX_PLACE else f"{path[:_MAX_PLACE]}..."


def _count(value: object) -> int:
    count, pending = 0, [value]
    while pending:
        item = pending.pop()
        count += 1
        pending += _items(item)
    return count


def _items(parent: object) -> Iterator[object]:
    if isinstance(parent, dict):
        yield from parent.values()
    elif isinstance(parent, list | tuple):
        yield from parent
