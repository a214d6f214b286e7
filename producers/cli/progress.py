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
    from rich.progress import ProgressColumn

_TIMES, _WIDE_BAR = 64, 100
"""The widths of a terminal with room for times and a short bar, and for one of 40 characters. No number is cut."""


class Progress:
    """`text` names the action. `total` is None if the number of items is unknown."""

    def __init__(self, text: str, total: int | None) -> None:
        self._text, self._total = text, total
        self._last = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.progress import Progress as Bar

            shown_on = console(err=True)
            self._bar = Bar(*columns(shown_on.width), console=shown_on, transient=True)
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


def columns(width: int) -> list[ProgressColumn]:
    """What fits into a terminal of this width: the numbers always, then the times and a bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    action, detail = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[detail]"))
    if width < _TIMES:
        return [action, MofNCompleteColumn(), detail]
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return [action, BarColumn(40 if width >= _WIDE_BAR else 5), MofNCompleteColumn(), detail, *times]
