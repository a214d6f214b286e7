"""`openfall up`: starts the supervisor of this machine as a process, and shows its events."""

from __future__ import annotations

import os
import re
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

from openfall.producers.cli.options import common_options, config_path, log_format_option, process_arguments
from openfall.producers.cli.terminal import console, plain, show_json_line, status_line, wants_json
from openfall.router_core.exit_text import describe_exit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

_TIME_AND_LEVEL = re.compile(r"^\d{4}-\d\d-\d\dT\S+ [IWEC] ")
_GATEWAY = "gateway"
"""The service whose address has the operator's page."""
_FAILURES = {"exited", "restart_failed", "gave_up"}
_STOP_NOW = "Ctrl-C again puts their jobs back at once."


@click.command(short_help="Start everything on this machine: Redis, engines, workers.")
@log_format_option
@common_options
def up(log_format: str | None) -> None:
    """Start everything on this machine: Redis, engines, workers. Ctrl-C stops everything in order.

    Data is kept in .openfall/, or in the directory that the configuration names.
    """
    from openfall.config import refuse_pipe

    refuse_pipe(config_path())  # the supervisor would not even have its descriptor
    # --parent: the supervisor stops when this process is killed.
    command = [sys.executable, "-m", "openfall.workers", "up", "--quiet", "--parent", str(os.getpid())]
    supervisor = subprocess.Popen(
        [*command, *process_arguments(log_format)],
        stdout=subprocess.PIPE,
        stderr=None if wants_json() else subprocess.PIPE,
        text=True,
        encoding="utf-8",
        process_group=0,  # a Ctrl-C of the terminal reaches this process only, which forwards it once
    )
    _forward_signals(supervisor)
    if supervisor.stdout is not None:
        if wants_json():
            for line in supervisor.stdout:
                show_json_line(line)
        else:
            render(supervisor.stdout, supervisor.stderr)
    code = supervisor.wait()
    raise click.exceptions.Exit(code if code >= 0 else 128 - code)


def _forward_signals(process: subprocess.Popen[str]) -> None:
    def forward(number: int, _frame: FrameType | None) -> None:
        if process.poll() is None:
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGINT in the background of a script, SIGHUP under nohup
            signal.signal(number, forward)


@dataclass(slots=True)
class _Screen:
    """The services that are ready, as a list. In a terminal a status line stands below it. Elsewhere each line begins
    with date, time and zone."""

    console: Console
    status: Status
    at: str = ""
    ready: dict[str, str] = field(default_factory=dict)
    failed: dict[str, None] = field(default_factory=dict)
    notices: set[str] = field(default_factory=set)
    stopping: bool = False

    def show(self, event: Mapping[str, Any]) -> None:
        service, name = event.get("what", "everything"), event["event"]
        self.at = "" if self.console.is_terminal else f"{event.get('at', '')} "
        if name == "ready":
            self.failed.pop(service, None)
            self.ready[service] = event.get("url") or event.get("socket") or ""
            self._print_service("✓", "green", service, f"ready{_duration(event)}", self.ready[service])
        elif name in ("starting", "loading"):
            share = f" {event['share']:.0%}" if "share" in event else ""
            self.status.update(plain(f"{service}: {name}{share}"))
            return
        elif name in _FAILURES:
            self.ready.pop(service, None)
            self.failed[service] = None
            self._print_service("✗", "red", service, _describe_failure(event))
        elif name == "notice":
            self._notice(service, str(event.get("text", "")))
        elif name == "fleet_ready":
            self._all_ready(event)
        else:
            self._show_stop(service, name)
        self.status.update(self._status())

    def _show_stop(self, service: str, name: str) -> None:
        if name == "stopped":
            self.ready.pop(service, None)
        elif name == "fleet_stopping":
            self.stopping = True
            self.print(f"{self.at}Stopping: calls in flight may finish. {_STOP_NOW}")
        elif name == "fleet_stopped":
            self.print(f"{self.at}Everything is stopped.")

    def _status(self) -> str:
        running = f"{len(self.ready)} running"
        return f"stopping, {running}. {_STOP_NOW}" if self.stopping else f"{running}. Ctrl-C stops everything."

    def _all_ready(self, event: Mapping[str, Any]) -> None:
        rest = f'{_duration(event)}. Try: {_program()} ask "Haruka waves"'
        runs = f"Runs without {', '.join(self.failed)}" if self.failed else "Everything runs"
        self.console.print(plain(self.at) + plain(runs, "bold") + plain(rest), soft_wrap=True)
        if page := self.ready.get(_GATEWAY, "").removesuffix("v1"):
            self.print(f"{self.at}In a browser: {page}")
        if "environment" in event:
            self.print(f"{self.at}Programs in other folders: {event['environment']}")
        if names := event.get("variables"):
            need = f"Programs in other terminals need {', '.join(names)} too, as here"
            self.print(f"{self.at}{need}: a file .env in this folder gives them to all that run in it")

    def print(self, text: str) -> None:
        self.console.print(plain(text), soft_wrap=True)

    def _notice(self, service: str, text: str) -> None:
        if text not in self.notices:
            self.notices.add(text)
            self._print_service("!", "yellow", service, text)

    def _print_service(self, mark: str, colour: str, service: str, text: str, address: str = "") -> None:
        line = plain(self.at) + plain(mark, colour) + plain(f" {service:<16} {text}")
        self.console.print(line + plain(f"  {address}", "dim") if address else line, soft_wrap=True)


def _program() -> str:
    """The path of this command: after `.venv/bin/openfall up`, plain `openfall` may not be on the PATH."""
    return sys.argv[0] if Path(sys.argv[0]).name == "openfall" else "openfall"


def _describe_failure(event: Mapping[str, Any]) -> str:
    cause = event.get("error") or describe_exit(event.get("code"))
    if "restarting_in" in event:
        return f"exited ({cause}), restarts in {event['restarting_in']:.1f} s"
    return f"failed and is not restarted ({cause})"


def _duration(event: Mapping[str, Any]) -> str:
    adopted = ", was running already" if event.get("adopted") else ""
    return f" in {event['seconds']:.1f} s{adopted}" if "seconds" in event else adopted


def render(events: IO[str], errors: IO[str] | None) -> None:
    """Show the events of a supervisor, one JSON object a line, and its other lines as they are."""
    from pydantic_core import from_json

    screen_console = console(err=True)
    with status_line("starting", screen_console) as status:
        screen = _Screen(screen_console, status)
        thread = threading.Thread(target=_print_lines, args=(errors or (), screen), name="errors")
        thread.start()
        for line in events:
            try:
                event = from_json(line)
            except ValueError:
                screen.print(line.rstrip())
                continue
            screen.show(event)
        thread.join()


def _print_lines(lines: IO[str], screen: _Screen) -> None:
    """The log of the supervisor. On a terminal its lines have no time."""
    for line in lines:
        text = line.rstrip()
        screen.print(_TIME_AND_LEVEL.sub("", text) if screen.console.is_terminal else text)
