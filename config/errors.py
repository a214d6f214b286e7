"""Problems of a configuration file: position, fault and remedy, never a secret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from openfall.router_core.catalog.catalog_errors import similar_names
from openfall.router_core.errors import OpenfallError

MAX_QUOTED = 40
"""Characters of a word from a file that a message shows. Longer words are cut."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One fault. `line` counts from 1, 0 for the whole file; `path` is dotted, and empty for the top level.

    `variables`: the environment variables that the faulty value came from. They are to be corrected, not the file.
    """

    file: Path
    line: int
    path: str
    message: str
    remedy: str = ""
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}" if self.line else str(self.file)
        position = f"{position} {self.path}" if self.path else position
        if self.variables:
            position = f"{' and '.join(self.variables)} (read at {position})"
        return f"{position}: {self.message}. {self.remedy}".rstrip()


class ConfigError(OpenfallError):
    """A configuration that cannot be used. The text has every problem, one a line, in the order of the file."""

    remedy = "correct the file"

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(str, self.problems)))


def quoted(text: str) -> str:
    """A word of the file as messages show it."""
    return f'"{text[:MAX_QUOTED]}…"' if len(text) > MAX_QUOTED else f'"{text}"'


def nearest(word: str, known: Iterable[str], meant: Iterable[str] = ()) -> str:
    """The remedy for an unknown word: what was `meant`, else the nearest known word."""
    known = sorted(known)
    near = list(meant) or similar_names(word, known)
    return f"Did you mean {' or '.join(map(quoted, near))}?" if near else f"Known: {', '.join(known) or 'none'}."
