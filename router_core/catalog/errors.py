"""Errors of the catalog: an unknown name, and contradictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class UnknownName(LookupError):
    """The catalog has no pool, model, role or backend of this name. The message proposes the nearest known name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        known = sorted(known)
        near = get_close_matches(name, known, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
        super().__init__(f"unknown {kind} {name!r}. {remedy}")


@dataclass(frozen=True, slots=True)
class CatalogProblem:
    """One contradiction: its dotted path (`models.coder.backends`) and what is wrong."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class CatalogError(ValueError):
    """The catalog contradicts itself. `problems` has every contradiction."""

    def __init__(self, problems: tuple[CatalogProblem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
