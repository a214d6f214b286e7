"""A table as the command line and the page both show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobLink:
    """A cell that names a job: the page leads to it."""

    text: str
    job_id: str

    def __str__(self) -> str:
        return self.text


class MarkedCount(int):
    """A number that the page marks unless it is 0. `tone`: `warn` or `bad`."""

    tone: str

    def __new__(cls, value: int, tone: str) -> MarkedCount:
        count = super().__new__(cls, value)
        count.tone = tone
        return count


class MarkedText(str):
    """A word that the page marks. `tone`: `good`, `warn` or `bad`."""

    tone: str

    def __new__(cls, value: str, tone: str) -> MarkedText:
        text = super().__new__(cls, value)
        text.tone = tone
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells: texts, numbers, links. `if_empty`: what stands in place of no row. `subjects`: what an action on
    each row concerns; empty: nothing is done to single rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    if_empty: str
    subjects: Sequence[str] = ()

    def is_number(self, column: int) -> bool:
        return any(isinstance(row[column], int) for row in self.rows)
