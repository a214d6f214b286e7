"""One of two upstreams is broken in each way that upstreams break: `python -m benchmarks.fault_drill`.

Real processes on this machine: a Valkey, an upstream for each kind of fault and a good one, four workers. For each
kind jobs of every urgency, streamed and not, are put in for a role whose chain is the broken model, then the good one.
Then, while no job waits, the broken one is mended. The verdict is that of a checker that imports nothing of openfall
and reads only the upstreams' own log and the server: every job answered by the good one and by nobody else, no call
that the breaker or the cooldown did not allow, and the breaker closed again within one open period. Exit 1 otherwise.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.fault_drilling.kinds import KINDS
from benchmarks.fault_drilling.run import drill, fleet
from benchmarks.fault_drilling.verdict import Verdict
from benchmarks.processes import BenchmarkError
from benchmarks.table import WIDTH, machine

QUICK_JOBS = 100

COLUMNS = {
    "jobs": "jobs",
    "answered": "answered",
    "claims": "handed to it",
    "calls": "calls it got",
    "allowed": "allowed",
    "probes": "probes",
    "opened": "opened",
    "open_period_s": "open s",
    "closed_after_s": "closed after s",
    "p50_s": "p50 s",
    "p100_s": "p100 s",
}


@click.command()
@click.option("--jobs", default=1000, show_default=True, type=click.IntRange(min=10), help="Jobs for each kind.")
@click.option("--kinds", help=f"Only these, with a comma between: {', '.join(KINDS)}.")
@click.option("--quick", is_flag=True, help=f"{QUICK_JOBS} jobs for each kind.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def main(jobs: int, kinds: str | None, quick: bool, as_json: bool) -> None:
    """Drill the fleet, one kind of fault after the other."""
    chosen = list(KINDS) if kinds is None else kinds.split(",")
    if unknown := [name for name in chosen if name not in KINDS]:
        raise click.BadParameter(f"unknown kind {unknown[0]!r}. Known: {', '.join(KINDS)}", param_hint="--kinds")
    directory = Path(tempfile.mkdtemp(prefix="openfall-drill-"))
    began = time.monotonic()
    try:
        verdicts = asyncio.run(_all(directory, chosen, QUICK_JOBS if quick else jobs))
    except BenchmarkError as error:
        raise click.ClickException(f"{error}. Everything that was written down is in {directory}") from error
    borne = not any(verdict.violations for verdict in verdicts)
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        told = {"borne": borne, "seconds": seconds, "machine": machine(), "kinds": [asdict(one) for one in verdicts]}
        click.echo(json.dumps(told, indent=2))
    else:
        _show(verdicts, seconds)
    if borne:
        shutil.rmtree(directory)
        return
    click.echo(f"Not everything was borne. What was written down is in {directory}", err=True)
    sys.exit(1)


async def _all(directory: Path, kinds: Sequence[str], jobs: int) -> list[Verdict]:
    console, began = Console(stderr=True, highlight=False), time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s  {what}[/dim]")

    verdicts = []
    with fleet(directory, kinds) as place:
        say(f"{len(place.workers)} workers are ready")
        for name in kinds:
            verdict = await drill(place, name, jobs, say)
            verdicts.append(verdict)
            say(f"{name}: {verdict.figures['sample']}")
            for violation in verdict.violations:
                console.print(f"{name}: {violation}", style="red", markup=False)
    return verdicts


def _show(verdicts: Sequence[Verdict], seconds: float) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    table = Table(title=f"One of two upstreams broken, {seconds:.0f} s", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right")
    table.add_column("recorded as")
    table.add_column("")
    for verdict in verdicts:
        told = [verdict.figures[key] for key in COLUMNS]
        errors = ", ".join(f"{name} {count}" for name, count in verdict.figures["errors"].items())
        end = "[red]BROKEN[/red]" if verdict.violations else "[green]borne[/green]"
        table.add_row(verdict.name, *("-" if one is None else str(one) for one in told), errors, end)
    console.print(table)
    for verdict in verdicts:
        for violation in verdict.violations:
            console.print(f"{verdict.name}: {violation}", style="red", markup=False, highlight=False)


if __name__ == "__main__":
    main()
