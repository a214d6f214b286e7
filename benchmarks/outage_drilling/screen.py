"""What a person sees of a drill while it goes on: bars on a terminal, elsewhere a line every 10 s; and what happens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from benchmarks.torturing.arena import Store

SAY_EVERY = 10.0

BARS = ("accepted", "ended", "held now", "fell and waits")


class Screen:
    """Lines, and below them four bars of so many jobs."""

    def __init__(self, jobs: int) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.began = self._said = time.monotonic()
        self._progress = Progress(
            TextColumn("  {task.description:>14}"), BarColumn(50), MofNCompleteColumn(),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._tasks = {name: self._progress.add_task(name, total=jobs) for name in BARS}

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, what: str) -> None:
        """One line, with the seconds since the start."""
        self.console.print(f"[dim]{time.monotonic() - self.began:6.1f} s[/dim]  {what}", soft_wrap=True)

    def show(self, seen: Mapping[str, int]) -> None:
        """How many jobs are where now."""
        for name, count in seen.items():
            self._progress.update(self._tasks[name], completed=count)
        now = time.monotonic()
        if self._progress.disable and now - self._said > SAY_EVERY:
            self._said = now
            self.say(", ".join(f"{count:,} {name}" for name, count in seen.items()))


def look(store: Store) -> dict[str, int] | None:
    """How many jobs are where; None while the server does not say."""
    with store.client() as client:
        try:
            accepted, open_ = client.hget("of:counters", "accepted"), client.zcard("of:unfinished")
            held, waiting = client.zcard("rq:deferred:degrade"), client.llen("rq:queue:degrade")
        except redis.RedisError:
            return None
    told = (int(accepted or 0), int(accepted or 0) - int(open_), int(held), int(waiting))
    return dict(zip(BARS, told, strict=True))
