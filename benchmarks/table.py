"""How results are summed up and shown: medians with their spread, beside the ratio to ours; a table or JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH = 140
"""Columns of a table that goes into a file or a pipe."""


@dataclass(frozen=True)
class Figure:
    """One quantity over the repetitions of a run."""

    median: float
    min: float
    max: float
    n: int

    def __str__(self) -> str:
        spread = "" if self.n == 1 else f" [dim]({readable(self.min)}-{readable(self.max)})[/dim]"
        return readable(self.median) + spread


def figure(values: Sequence[float]) -> Figure | None:
    """The median and the spread; None for nothing."""
    return Figure(median(values), min(values), max(values), len(values)) if values else None


def readable(value: float) -> str:
    """About three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class Row:
    """One peer: its figures by column, or why there are none."""

    name: str
    figures: Mapping[str, Figure | None]
    failed: str = ""


@dataclass(frozen=True)
class Sheet:
    """One table. `ratio` names the column that rows are compared by; `to` the row they are compared with."""

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Row]
    ratio: str = ""
    to: str = ""
    notes: Sequence[str] = ()

    def ratio_of(self, row: Row) -> float | None:
        """This row's figure over that of the row `to`; None when either has none."""
        base = next((other.figures.get(self.ratio) for other in self.rows if other.name == self.to), None)
        mine = row.figures.get(self.ratio)
        return mine.median / base.median if mine and base and base.median else None

    def as_json(self) -> dict[str, Any]:
        """The same, for machines."""
        rows = [
            {
                "name": row.name,
                **{key: asdict(value) if value else None for key, value in row.figures.items()},
                **({f"ratio_to_{self.to}": self.ratio_of(row)} if self.ratio else {}),
                **({"failed": row.failed} if row.failed else {}),
            }
            for row in self.rows
        ]
        return {"title": self.title, "unit": dict(self.columns), "rows": rows, "notes": list(self.notes)}


def show(sheets: Sequence[Sheet], as_json: bool) -> None:
    """Write the results to stdout."""
    if as_json:
        click.echo(json.dumps({"machine": machine(), "sheets": [sheet.as_json() for sheet in sheets]}, indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for sheet in sheets:
        console.print(_table(sheet))
        for note in sheet.notes:
            console.print(f"[dim]{note}[/dim]")
        for row in sheet.rows:
            if row.failed:
                console.print(f"{row.name}: {row.failed}", style="red", markup=False, highlight=False)
        console.print()


def _table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading in sheet.columns.values():
        table.add_column(heading, justify="right")
    if sheet.ratio:
        table.add_column(f"x {sheet.to}", justify="right")
    for row in sheet.rows:
        cells = [str(row.figures.get(key) or "-") for key in sheet.columns]
        if sheet.ratio:
            ratio = sheet.ratio_of(row)
            cells.append("-" if ratio is None else f"{ratio:.3g}")
        table.add_row(row.name, *cells)
    return table


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cpus": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "python": platform.python_version()}
