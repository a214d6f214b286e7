"""Shows progress: a bar in a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from openfall.producers.cli.render import PRINT_INTERVAL_SECONDS
from openfall.producers.cli.terminal import console, plain, print_line
from openfall.router_core.printable import escape_controls

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """`text` names the action. `total` is None if the number of items is unknown."""

    def __init__(self, text: str, total: int | None) -> None:
        self._text, self._total = text, total
        self._last = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}", markup=False), TimeElapsedColumn(), TextColumn("left"),
                TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = Bar(*columns, console=console(err=True), transient=True)
            self._bar.add_task(self._text, total=self._total, detail="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, number: int, detail: str = "") -> None:
        """Show how many items are done."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=number, detail=escape_controls(detail))
        elif time.monotonic() - self._last >= PRINT_INTERVAL_SECONDS:
            self._last = time.monotonic()
            total, detail = f" of {self._total:,}" if self._total else "", f", {detail}" if detail else ""
            print_line(f"{number:,}{total} {self._text}{detail}")

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(plain(text), soft_wrap=True)
        else:
            print_line(text)
