"""The demo: one night at a small anime studio. 60 jobs, two toy engines, a card with a sidecar, three workers.

1. An engine is killed during its calls. Its breaker opens, the other model answers, the breaker closes.
2. A worker is killed during its calls. Other workers take them over.
3. Both engines are away for a while. New jobs are held, and are answered when the engines are back.
4. The HTTP gateway is killed behind a request of OpenAI's SDK. The next gateway has its answer.
5. A card holds one of two models. A batch is put back for a caller who waits for the other one.

Everything runs on this machine and is removed afterwards, except `.openfall/demo/episode-07.md` and `.jsonl`.
Exit status: 0 every job was answered and every act happened; 1 otherwise; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from examples import report
from examples.demo_fleet import CONFIG, ROOT, FleetFailed, environment, running, sidecar
from examples.gateway_kill import kill_gateway
from examples.model_switch import switch_models
from examples.night import Display, Line, Night, read_jobs, run
from examples.outage import fall_open
from openfall import AsyncOpenfall, config
from openfall.router_core.exit_text import describe_exit
from openfall.workers.stop_signals import stop_signals

EPISODE = ROOT / "examples" / "episode-07.jsonl"
OUT = ROOT / ".openfall" / "demo"
PROGRESS_INTERVAL_S = 10.0
"""Without a terminal for a progress bar, a line of progress is printed at this interval."""


class StopSignals:
    """A signal to stop cancels the demo once. Later ones change nothing: it is stopping already."""

    def __init__(self) -> None:
        self.received = False
        self._task: asyncio.Task[Any] | None = None
        for number in stop_signals():
            signal.signal(number, self._handle)

    def cancel_current_task(self) -> None:
        """From now on a signal cancels the current task; an earlier signal cancels it at once."""
        self._task = asyncio.current_task()
        if self.received:
            raise asyncio.CancelledError

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.received = not self.received, True
        if first:
            with suppress(OSError):
                os.write(2, b"\nstopping everything\n")
        if first and self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)


class Screen:
    """Prints lines, and below them a progress bar (without a terminal: a line every 10 s)."""

    def __init__(self, console: Console, jobs: int) -> None:
        self.console, self.jobs = console, jobs
        self.began = time.monotonic()
        self._progress_at = self.began
        self._notices: set[str] = set()
        self.bar = Progress(
            TextColumn("  {task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self.bar.add_task("answered", total=jobs, visible=False)

    def show_line(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self.console.print(f"[dim]{time.monotonic() - self.began:6.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    def show_event(self, event: Mapping[str, Any]) -> None:
        """Print the events of the supervisor that matter to a visitor."""
        what = event.get("what", "")
        match event["event"]:
            case "ready":
                self.show_line(f"{what} [green]ready[/] (pid {event['pid']}, {event['seconds']:.1f} s)")
            case "exited":
                self.show_line(f"{what} [red]ended[/] ({describe_exit(event['code'])}); its supervisor starts it again")
            case "notice" if event["text"] not in self._notices:  # both engines report the same model
                self._notices.add(event["text"])
                self.show_line(f"[yellow]{event['text']}[/]")
            case "gave_up" | "restart_failed":
                self.show_line(f"[red]{what}: {event.get('error', event.get('code'))}[/]")

    def show_answers(self, night: Night) -> None:
        """Update the progress."""
        self.bar.update(self._task, completed=len(night.results), visible=True)
        now = time.monotonic()
        if self.bar.disable and now - self._progress_at > PROGRESS_INTERVAL_S:
            self._progress_at = now
            self.show_line(f"{len(night.results)} of {len(night.accepted)} answered")


def play() -> int:
    """Run the demo; returns its exit status."""
    console, signals = Console(), StopSignals()
    try:
        return asyncio.run(_play(console, signals))
    except asyncio.CancelledError:
        with suppress(OSError):  # the terminal may be closed
            console.print("interrupted; everything that the demo started is stopped")
        return 130


async def _play(console: Console, signals: StopSignals) -> int:
    signals.cancel_current_task()
    OUT.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_stale_runs()
    data = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=OUT))
    try:
        environ = environment(data)
        loaded = config.load(CONFIG, environ=environ)
        lines = read_jobs(EPISODE, loaded.catalog)
        with (screen := Screen(console, len(lines))).bar:
            night = await _run_night(screen, loaded, lines, environ)
    except FleetFailed as error:
        console.print(f"[red]The demo could not start.[/] {error}", soft_wrap=True)
        return 1
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return _report(console, night)


def _remove_stale_runs() -> None:
    """Remove the data of demos that were killed and could not do it themselves."""
    for path in OUT.glob("run-*-*"):
        try:
            os.kill(int(path.name.split("-")[1]), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (ValueError, OSError):
            continue


async def _run_night(
    screen: Screen, loaded: config.LoadedConfig, lines: tuple[Line, ...], environ: Mapping[str, str]
) -> Night:
    screen.show_line(
        "starting a Valkey, two engines with a toy model, a sidecar, three workers: on this machine, for this demo only"
    )
    async with sidecar(environ), running(environ, screen.show_event) as fleet:
        async with AsyncOpenfall(config=loaded, producer="demo") as client:
            night = await run(
                client, fleet, lines, Display(show_line=screen.show_line, show_answers=screen.show_answers)
            )
            screen.show_line(f"{len(night.results)} of {len(night.accepted)} done")
            night.outage = await fall_open(client, fleet, screen.show_line)
            url = f"http://{loaded.settings.gateway.listen[0]}/v1"
            night.gateway_kill = await kill_gateway(url, fleet, screen.show_line)
            night.model_switch = await switch_models(client, screen.show_line)
        screen.show_line("stopping everything")
    return night


def _report(console: Console, night: Night) -> int:
    page, lines = OUT / "episode-07.md", OUT / "episode-07.jsonl"
    report.write_page(night, page)
    report.write_rows(night, lines)
    console.print()
    console.print(report.by_urgency(night))
    console.print(report.by_model(night))
    console.print(report.job_account(night))
    console.print(report.summary(night), highlight=False, soft_wrap=True)
    console.print(report.outage_summary(night), highlight=False, soft_wrap=True)
    console.print(report.gateway_summary(night), highlight=False, soft_wrap=True)
    console.print(report.switch_summary(night), highlight=False, soft_wrap=True)
    for custom_id in night.lost:
        console.print(f"[red]lost: {custom_id} (job {night.accepted[custom_id]})[/]")
    for custom_id in night.unanswered:
        result = night.results[custom_id]
        console.print(Text(f"{custom_id}: {result.status}: {result.detail}", "red"), soft_wrap=True)
    text = f"\nRead it: {page.relative_to(ROOT)}   (as data: {lines.relative_to(ROOT)})"
    console.print(text, highlight=False, soft_wrap=True)
    console.print("Next: .venv/bin/openfall up, and in another terminal:", soft_wrap=True, highlight=False)
    console.print("      .venv/bin/openfall ask 'Haruka waves' -r dialogue", soft_wrap=True, highlight=False)
    console.print("      any OpenAI client with base_url=http://127.0.0.1:8309/v1", soft_wrap=True, highlight=False)
    return 0 if night.all_shown else 1
