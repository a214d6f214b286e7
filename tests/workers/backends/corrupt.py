"""Good JSON made bad in every one of its places, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 7, 1.5, 2**70, "", "x", "{", [], [3], [None], ["x"], [[]], [{}], {}, {"type": 3}, {"type": "x"}
)  # fmt: skip


def spoiled(good: Any) -> Iterator[Any]:
    """The whole with one part of it odd or missing, for every part and every oddity. What is good is shared."""
    yield from ODD
    if isinstance(good, dict):
        for key, value in good.items():
            yield {other: kept for other, kept in good.items() if other != key}
            yield from ({**good, key: bad} for bad in spoiled(value))
    elif isinstance(good, list):
        for index, value in enumerate(good):
            yield [*good[:index], *good[index + 1 :]]
            yield from ([*good[:index], bad, *good[index + 1 :]] for bad in spoiled(value))
