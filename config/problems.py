"""What can be wrong with a configuration file, and how it is told: place, fault, remedy; never a secret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

QUOTED = 40
"""Longer words from a file are cut in messages: nobody needs more of them to find the place."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One fault. `line` counts from 1, 0 for the whole file; `path` is dotted, and empty for the top level.

    `variables` are the environment's that the faulty value came from: they are to be mended, not the file.
    """

    file: Path
    line: int
    path: str
    message: str
    remedy: str = ""
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        place = f"{where} {self.path}" if self.path else where
        if self.variables:
            place = f"{' and '.join(self.variables)} (read at {place})"
        return f"{place}: {self.message}. {self.remedy}".rstrip()


class ConfigError(Exception):
    """A configuration that cannot be used. Its text is one problem a line, all of them, in the order of the file."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(str, self.problems)))


def quoted(text: str) -> str:
    """A word of the file as messages show it."""
    return f'"{text[:QUOTED]}…"' if len(text) > QUOTED else f'"{text}"'


def nearest(word: str, known: Iterable[str]) -> str:
    """The remedy for a word that is not among the known ones."""
    known = sorted(known)
    near = get_close_matches(word, known, n=1)
    return f"Did you mean {quoted(near[0])}?" if near else f"Known: {', '.join(known) or 'none'}."
