"""Names that one part of a file gives, and another refers to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from openfall.config.document import Node
from openfall.config.field_types import FieldType, chosen


@dataclass(frozen=True, slots=True)
class References:
    """What may be referred to by name. Of the `declared` ones only the `sound` were readable, which is told once."""

    kind: str
    declared: Collection[str] = ()
    sound: Collection[str] = ()

    @property
    def one(self) -> FieldType[str]:
        """One name."""
        return FieldType(self._one, {"type": "string", "minLength": 1}, str)

    @property
    def many(self) -> FieldType[tuple[str, ...]]:
        """A list of at least one name; None when none of them can be used."""
        names = {"type": "array", "items": self.one.shape, "minItems": 1}
        return FieldType(self._many, names, list)

    def _one(self, place: Node) -> str | None:
        read = chosen(place, self.kind, self.declared)
        return read if read in self.sound else None

    def _many(self, place: Node) -> tuple[str, ...] | None:
        """A name that a variable gives may stand in the list a second time: there it is passed over."""
        items = place.items()
        read: list[str] = []
        filled: set[str] = set()
        for item in items:
            name = self._one(item)
            if name is None:
                continue
            if name != item.node.value:
                filled.add(name)
            if name not in read or name not in filled:
                read.append(name)
        if not items and place.is_list:
            place.report("the list is empty", f"Name at least one {self.kind}.")
        return tuple(read) or None
