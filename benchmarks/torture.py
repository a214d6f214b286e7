"""20,000 jobs while workers and Valkey are killed and frozen: `python -m benchmarks.torture --jobs 20000`.

Real processes on this machine. The verdict is that of a separate process that imports nothing of openfall and reads
only the receipts, the upstream's log, the server and its append-only file. Exit 1 when a promise was broken.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.processes import BenchmarkError
from benchmarks.table import WIDTH
from benchmarks.torturing.plan import Plan
from benchmarks.torturing.run import torture

QUICK_JOBS = 1500


@click.command()
@click.option("--jobs", default=20_000, show_default=True, type=click.IntRange(min=100))
@click.option("--workers", default=4, show_default=True, type=click.IntRange(min=3))
@click.option(
    "--latency-ms",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=100),
    help="How long the upstream takes for each answer: long enough that calls are in flight when a worker is hit.",
)
@click.option("--seed", type=int, help="Repeat the faults of an earlier run.")
@click.option("--quick", is_flag=True, help=f"{QUICK_JOBS} jobs: about a minute.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def main(quick: bool, as_json: bool, **told: Any) -> None:
    """Torture the fleet and judge what it did."""
    if quick:
        told["jobs"] = QUICK_JOBS
    if told["seed"] is None:
        told["seed"] = random.SystemRandom().randrange(1_000_000)
    plan = Plan(**told)
    directory = Path(tempfile.mkdtemp(prefix="openfall-torture-"))
    try:
        verdict = _run(plan, directory)
    except BenchmarkError as error:
        raise click.ClickException(f"{error}. Everything that was written down is in {directory}") from error
    kept = verdict["kept"] and not verdict["complaints"]
    verdict = {**verdict, "kept": kept, "seed": plan.seed}
    if as_json:
        click.echo(json.dumps(verdict, indent=2))
    else:
        show(verdict)
    if kept:
        shutil.rmtree(directory)
        return
    click.echo(f"A promise was broken. Everything that was written down is in {directory}", err=True)
    sys.exit(1)


def _run(plan: Plan, directory: Path) -> dict[str, Any]:
    console, began = Console(stderr=True, highlight=False), time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s  {what}[/dim]")

    async def all_of_it() -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await torture(plan, directory, say)

    try:
        return {**asyncio.run(all_of_it()), "seconds": round(time.monotonic() - began, 1)}
    except asyncio.CancelledError:
        raise BenchmarkError("stopped by a signal") from None
    except BaseExceptionGroup as group:
        raise BenchmarkError("; ".join(str(error) for error in group.exceptions)) from group


def show(verdict: dict[str, Any]) -> None:
    """The promises, then the figures."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(_promises(verdict))
    console.print(_figures(verdict))
    for complaint in verdict["complaints"][:10]:
        console.print(complaint, style="red", markup=False, highlight=False)


def _promises(verdict: dict[str, Any]) -> Table:
    title = f"{verdict['figures']['accepted']:,} jobs in {verdict['seconds']:.0f} s, seed {verdict['seed']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in ("promise", "", "found"):
        table.add_column(heading)
    complaints = verdict["complaints"]
    besides = {"name": "no worker ended by itself, rq info always answered", "kept": not complaints, "named": ()}
    for promise in [*verdict["promises"], {**besides, "told": str(len(complaints))}]:
        found = "  ".join([promise["told"], *promise["named"]])
        table.add_row(promise["name"], "[green]kept[/green]" if promise["kept"] else "[red]BROKEN[/red]", found)
    return table


def _figures(verdict: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in {**verdict["figures"], "rq_info_looks": verdict["rq_info_looks"]}.items():
        shown = ", ".join(f"{key} {n}" for key, n in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name.replace("_", " "), shown)
    return table


if __name__ == "__main__":
    main()
