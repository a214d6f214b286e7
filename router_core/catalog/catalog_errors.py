"""Errors of the catalog: an unknown name, and contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from openfall.router_core.errors import OpenfallError

MAX_NAME_CHARACTERS = 256
"""A longer text is no name: it is compared with none, which takes seconds for megabytes, and is not shown whole."""


def similar_names(name: str, known: Iterable[str]) -> list[str]:
    """The known name that is the most similar to another, whatever the case of their letters; none if none is."""
    by_folded = {word.casefold(): word for word in known}
    return [by_folded[word] for word in get_close_matches(name.casefold(), by_folded, n=1)]


class UnknownName(OpenfallError, LookupError):
    """The catalog has no pool, model, role or backend of this name. The message proposes what was `meant`, else the
    nearest known name."""

    remedy = "correct the name"

    def __init__(self, kind: str, name: str, known: Iterable[str], meant: str = "") -> None:
        self.kind, self.name = kind, name
        known = sorted(known)
        is_name = len(name) <= MAX_NAME_CHARACTERS
        near = [meant] if meant else [repr(word) for word in similar_names(name if is_name else "", known)]
        remedy = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known) or 'none'}."
        shown = repr(name) if is_name else f"{name[:40]!r}... of {len(name):,} characters"
        super().__init__(f"unknown {kind} {shown}. {remedy}")


class AmbiguousName(UnknownName):
    """A name that means several models."""

    remedy = "name one of the models that the message lists"

    def __init__(self, kind: str, name: str, meant: Sequence[str]) -> None:
        super().__init__(kind, name, meant)
        self.args = (f"{name!r} could be {' or '.join(map(repr, meant))}. Name one of them.",)


@dataclass(frozen=True, slots=True)
class CatalogProblem:
    """One contradiction: its dotted path (`models.coder.backends`), what is wrong, and how to correct it.

    `other_path` is the value that it contradicts, if that is somewhere else.
    """

    path: str
    message: str
    remedy: str = ""
    other_path: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class CatalogError(ValueError):
    """The catalog contradicts itself. `problems` has every contradiction."""

    def __init__(self, problems: tuple[CatalogProblem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
