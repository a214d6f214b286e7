"""A section of the page: a pure function from a snapshot to values, and the template that shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot, Source


@dataclass(frozen=True, slots=True)
class Section:
    """`name` is its id in the document, and that of its template `sections/NAME.html`.

    `sources`: what it reads beside the snapshot; `snapshot.sources` has each by its name. `wide`: it takes the whole
    width of the page.
    """

    name: str
    context: Callable[[PageSnapshot], Mapping[str, Any]]
    sources: tuple[Source, ...] = ()
    wide: bool = True

    @property
    def template(self) -> str:
        return f"sections/{self.name}.html"
