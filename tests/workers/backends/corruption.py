"""Valid JSON with one corrupted part, for every part, and the check that a translator handles each such body."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 7, 1.5, 2**70, "", "x", "{", [], [3], [None], ["x"], [[]], [{}], {}, {"type": 3}, {"type": "x"}
)  # fmt: skip


def corruptions(valid: Any) -> Iterator[Any]:
    """The value with one part odd or missing, for every part and every oddity. Valid parts are shared."""
    yield from ODD
    if isinstance(valid, dict):
        for key, value in valid.items():
            yield {other: kept for other, kept in valid.items() if other != key}
            yield from ({**valid, key: corrupted} for corrupted in corruptions(value))
    elif isinstance(valid, list):
        for index, value in enumerate(valid):
            yield [*valid[:index], *valid[index + 1 :]]
            yield from ([*valid[:index], corrupted, *valid[index + 1 :]] for corrupted in corruptions(value))


def assert_translated_or_refused(translate: Callable[[Any], Mapping[str, Any]], valid: Mapping[str, Any]) -> None:
    """Every corrupted body is translated, or refused with a reason, and none is changed."""
    assert translate(valid)["messages"]
    before = deepcopy(valid)
    for body in corruptions(valid):
        if isinstance(body, dict):
            with suppress(Untranslatable, Unreadable):
                assert "messages" in translate(body)
    assert valid == before
