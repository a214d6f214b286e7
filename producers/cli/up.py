"""`openfall up` and `openfall work`: the workers' side of the house, run as processes and shown here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import config_option, json_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

WORKERS = (sys.executable, "-m", "openfall.workers")


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("pool")
@click.pass_context
def work(ctx: click.Context, pool: str) -> None:
    """Carry out the jobs of one pool.

    Options: --backend NAME, --slots N, --procs N, --config PATH, --burst (stop when nothing is left), --quiet.
    """
    os.execv(sys.executable, [*WORKERS, "work", pool, *ctx.args])


@dataclass(slots=True)
class _Screen:
    """What has become ready, as a list; below it, in a terminal, a line that lives."""

    console: Console
    status: Status
    ready: dict[str, str] = field(default_factory=dict)
    noticed: set[str] = field(default_factory=set)

    def show(self, event: Mapping[str, Any]) -> None:
        what, name = event.get("what", "everything"), event["event"]
        if name == "ready":
            self.ready[what] = event.get("url") or event.get("socket") or ""
            self._line("[green]✓[/]", what, f"ready{_took(event)}", self.ready[what])
        elif name in ("starting", "loading"):
            share = f" {event['share']:.0%}" if "share" in event else ""
            self.status.update(f"{what}: {name}{share}")
            return
        elif name in _TROUBLE:
            self.ready.pop(what, None)
            self._line("[red]✗[/]", what, _trouble(event), "")
        elif name == "notice":
            self._notice(what, str(event.get("text", "")))
        elif name == "fleet_ready":
            self.console.print(f'[bold]Everything runs[/]{_took(event)}. Try: {_as_typed()} ask "Haruka waves"')
        if name == "fleet_stopping":
            self.status.update("stopping in good order (Ctrl-C again for haste)")
        else:
            self.status.update(f"{len(self.ready)} running. Ctrl-C stops everything.")

    def say(self, words: str) -> None:
        self.console.print(words, markup=False, soft_wrap=True)

    def _notice(self, what: str, words: str) -> None:
        if words not in self.noticed:
            self.noticed.add(words)
            self._line("[yellow]![/]", what, words, "")

    def _line(self, mark: str, what: str, words: str, where: str) -> None:
        from rich.markup import escape

        self.console.print(
            f"{mark} {escape(what):<16} {escape(words)}  [dim]{escape(where)}[/]".rstrip(), soft_wrap=True
        )


def _as_typed() -> str:
    """This command as it was called: after `.venv/bin/openfall up`, plain `openfall` may not be found."""
    return sys.argv[0] if Path(sys.argv[0]).name == "openfall" else "openfall"


_TROUBLE = {"exited", "restart_failed", "gave_up"}


def _trouble(event: Mapping[str, Any]) -> str:
    why = event.get("error") or f"exit status {event.get('code', '?')}"
    if "restarting_in" in event:
        return f"ended ({why}), started again in {event['restarting_in']:.1f} s"
    return f"given up ({why})"


def _took(event: Mapping[str, Any]) -> str:
    adopted = ", found running" if event.get("adopted") else ""
    return f" in {event['seconds']:.1f} s{adopted}" if "seconds" in event else adopted


@click.command()
@config_option
@json_option
def up(config_path: Path | None, as_json: bool) -> None:
    """Start everything on this machine: Redis, engines, workers. Ctrl-C stops it in good order.

    Data is kept in .openfall/, or where the configuration says.
    """
    more = () if config_path is None else ("--config", str(config_path))
    child = subprocess.Popen(
        # Tied to this process: were it killed, nothing would be left running without anybody to tell of it.
        [*WORKERS, "up", "--json", "--quiet", "--parent", str(os.getpid()), *more],
        stdout=subprocess.PIPE,
        stderr=None if as_json else subprocess.PIPE,
        text=True,
        encoding="utf-8",
        process_group=0,  # a Ctrl-C reaches it from us, once, and not from the terminal as well
    )
    _pass_on_signals(child)
    assert child.stdout is not None
    if as_json:
        for line in child.stdout:
            click.echo(line, nl=False)
    else:
        _render(child.stdout, child)
    code = child.wait()
    raise click.exceptions.Exit(code if code >= 0 else 128 - code)


def _pass_on_signals(child: subprocess.Popen[str]) -> None:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        if child.poll() is None:
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)


def _render(lines: IO[str], child: subprocess.Popen[str]) -> None:
    from pydantic_core import from_json
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("starting") as status:
        screen = _Screen(console, status)
        errors = threading.Thread(target=_pass_on_errors, args=(child.stderr, screen), name="errors")
        errors.start()
        for line in lines:
            try:
                event = from_json(line)
            except ValueError:
                screen.say(line.rstrip())
                continue
            screen.show(event)
        errors.join()


def _pass_on_errors(lines: IO[str], screen: _Screen) -> None:
    for line in lines:
        screen.say(line.rstrip())
