"""The progress of a run: bars on a terminal, elsewhere a line every 10 s; and a line for each event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

PROGRESS_INTERVAL_S = 10.0
BARS = ("accepted", "ended", "held now", "fell and waits")


class Progress:
    """Lines, and below them a bar for each count of jobs. Without `jobs` there are no bars."""

    def __init__(self, jobs: int = 0) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.began = self._shown_at = time.monotonic()
        self._bars = rich.progress.Progress(
            TextColumn("  {task.description:>14}"), BarColumn(50), MofNCompleteColumn(),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._tasks = {name: self._bars.add_task(name, total=jobs) for name in BARS if jobs}

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def log_line(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self.console.print(f"[dim]{self.seconds:6.1f} s[/dim]  {text}", soft_wrap=True)

    def show(self, counts: Mapping[str, int]) -> None:
        """Update the bars."""
        for name, count in counts.items():
            self._bars.update(self._tasks[name], completed=count)
        now = time.monotonic()
        if self._bars.disable and now - self._shown_at > PROGRESS_INTERVAL_S:
            self._shown_at = now
            self.log_line(", ".join(f"{count:,} {name}" for name, count in counts.items()))


def count_jobs(client: Any) -> dict[str, int]:
    """How many jobs are where, by the name of their bar."""
    accepted, unfinished = int(client.hget("of:counters", "accepted") or 0), int(client.zcard("of:unfinished"))
    held, waiting = client.zcard("rq:deferred:degrade"), client.llen("rq:queue:degrade")
    return dict(zip(BARS, (accepted, accepted - unfinished, int(held), int(waiting)), strict=True))
