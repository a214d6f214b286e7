"""`make demo`: one night at a small anime studio. 60 jobs, two toy engines, three workers; one of each is killed.

Then both engines are away for a while, and what is asked meanwhile is answered when they are back.

Everything runs on this machine and is gone afterwards, except what was written: `.openfall/demo/episode-07.md`.
Exit codes: 0 every job was answered; 1 one was not, or nothing could be started; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples import report
from examples.falling import fall_open
from examples.fleet import CONFIG, ROOT, FleetFailed, environment, running
from examples.night import Line, Night, Show, read_jobs, run
from openfall import AsyncOpenfall, config

EPISODE = ROOT / "examples" / "episode-07.jsonl"
OUT = ROOT / ".openfall" / "demo"
SAY_EVERY = 10.0
"""Seconds between two lines about the progress where there is no terminal to draw a bar on."""


class Screen:
    """What a person sees: lines, and below them a bar (or a line every 10 s without a terminal)."""

    def __init__(self, console: Console, jobs: int) -> None:
        self.console, self.jobs = console, jobs
        self.began = time.monotonic()
        self._said = self.began
        self._notices: set[str] = set()
        self.bar = Progress(
            TextColumn("  {task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self.bar.add_task("answered", total=jobs, visible=False)

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        self.console.print(f"[dim]{time.monotonic() - self.began:6.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    def hear(self, event: Mapping[str, Any]) -> None:
        """What the supervisor says, as far as a visitor wants to know it."""
        what = event.get("what", "")
        match event["event"]:
            case "ready":
                self.say(f"{what} [green]ready[/] (pid {event['pid']}, {event['seconds']:.1f} s)")
            case "exited":
                self.say(f"{what} [red]ended[/] with status {event['code']}; its supervisor starts it again")
            case "notice" if event["text"] not in self._notices:  # two engines say the same of their model
                self._notices.add(event["text"])
                self.say(f"[yellow]{event['text']}[/]")
            case "gave_up" | "restart_failed":
                self.say(f"[red]{what}: {event.get('error', event.get('code'))}[/]")

    def answered(self, night: Night) -> None:
        """One more."""
        self.bar.update(self._task, completed=len(night.results), visible=True)
        now = time.monotonic()
        if self.bar.disable and now - self._said > SAY_EVERY:
            self._said = now
            self.say(f"{len(night.results)} of {len(night.accepted)} answered")


async def main(console: Console) -> int:
    """The demo, from start to table."""
    _stop_on_sigterm()
    OUT.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="run-", dir=OUT))
    environ = environment(data)
    loaded = config.load(CONFIG, environ=environ)
    lines = read_jobs(EPISODE, loaded.catalog)
    try:
        with (screen := Screen(console, len(lines))).bar:
            night = await _night(screen, loaded, lines, environ)
    except FleetFailed as error:
        console.print(f"[red]The demo could not start.[/] {error}", soft_wrap=True)
        return 1
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return _report(console, night)


async def _night(
    screen: Screen, loaded: config.LoadedConfig, lines: tuple[Line, ...], environ: Mapping[str, str]
) -> Night:
    screen.say("starting a Valkey, two engines with a toy model, three workers: on this machine, for this demo only")
    async with running(environ, screen.hear) as fleet:
        async with AsyncOpenfall(config=loaded, producer="demo") as client:
            night = await run(client, fleet, lines, Show(say=screen.say, answered=screen.answered))
            screen.say(f"{len(night.results)} of {len(night.accepted)} done")
            night.falling = await fall_open(client, fleet, screen.say)
        screen.say("stopping everything")
    return night


def _report(console: Console, night: Night) -> int:
    page, lines = OUT / "episode-07.md", OUT / "episode-07.jsonl"
    report.write_page(night, page)
    report.write_rows(night, lines)
    console.print()
    console.print(report.by_urgency(night))
    console.print(report.by_model(night))
    console.print(report.account(night))
    console.print(report.summary(night), highlight=False, soft_wrap=True)
    console.print(report.fall_summary(night), highlight=False, soft_wrap=True)
    for custom_id in night.lost:
        console.print(f"[red]lost: {custom_id} (job {night.accepted[custom_id]})[/]")
    for custom_id in night.unanswered:
        result = night.results[custom_id]
        console.print(f"[red]{custom_id}: {result.status}: {result.detail}[/]", highlight=False, soft_wrap=True)
    shown = f"\nRead it: {page.relative_to(ROOT)}   (as data: {lines.relative_to(ROOT)})"
    console.print(shown, highlight=False, soft_wrap=True)
    console.print("Next: .venv/bin/openfall up, and in another terminal:", soft_wrap=True, highlight=False)
    console.print("      .venv/bin/openfall ask 'Haruka waves' -r dialogue", soft_wrap=True, highlight=False)
    healed = night.breaking is not None and night.breaking.closed is not None
    caught = night.falling is not None and night.falling.well
    return 1 if night.lost or night.unanswered or night.refused or not healed or not caught else 0


def _stop_on_sigterm() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


if __name__ == "__main__":
    screen_of_all = Console()
    try:
        sys.exit(asyncio.run(main(screen_of_all)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen_of_all.print("interrupted; everything that the demo started is stopped")
        sys.exit(130)
