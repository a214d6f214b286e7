"""A list of an answer that grows with the pieces of a stream. Pure."""

from __future__ import annotations

from typing import Any


class GrownList(list[Any]):
    """A list that `grow_list` made. No event has it, so the next piece is added in place, and no part changes later."""

    def __init__(self, parts: Any = ()) -> None:
        super().__init__(parts)
        self.measured_parts = self.measured_bytes = 0
        """Of how many parts the memory is known, and how much they take."""


def grow_list(earlier: Any, piece: list[Any]) -> list[Any]:
    """A list with its next piece. In place from the second piece on: a copy for each takes time that grows with the
    square of their number."""
    grown = earlier if isinstance(earlier, GrownList) else GrownList(earlier if isinstance(earlier, list) else ())
    grown.extend(piece)
    return grown
