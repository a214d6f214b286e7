"""Shows progress: a bar in a terminal, else a line every ten seconds."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from openfall.producers.cli.render import PRINT_INTERVAL_SECONDS, print_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """`text` names the action. `total` is None if the number of items is unknown."""

    def __init__(self, text: str, total: int | None) -> None:
        self._words, self._total = text, total
        self._last = time.monotonic()
        self._bar: Bar | None = None

    async def __aenter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._words, total=self._total)
            self._bar.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, number: int) -> None:
        """Show how many items are done."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=number)
        elif time.monotonic() - self._last >= PRINT_INTERVAL_SECONDS:
            self._last = time.monotonic()
            print_line(f"{number:,}{f' of {self._total:,}' if self._total else ''} {self._words}")
