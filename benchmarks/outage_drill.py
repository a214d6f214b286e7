"""Every backend is gone for a minute while jobs come in, and more is killed: `python -m benchmarks.outage_drill`.

Real processes on this machine: a Valkey, two upstreams, two workers, two degrade workers, a chat's notifier, a receiver
of webhooks, a submitter. 5,000 mixed jobs, of which some callers wait, some have an inbox or a webhook, some ask later.
In the middle both upstreams are killed for a minute; meanwhile a worker, a degrade worker and Valkey are killed, and
the notifier is away for a while. Then all comes back. The judge imports nothing of openfall and reads what everybody
wrote down for themselves. Exit 1 when a promise was broken.
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
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.outage_drilling.plan import QUICK_JOBS, Plan
from benchmarks.outage_drilling.run import Drilled, drill
from benchmarks.outage_drilling.screen import Screen
from benchmarks.outage_drilling.telling import asked_to_heard, degraded_after, heard_after, percentiles
from benchmarks.outage_drilling.verdict import FATES, account, judge
from benchmarks.processes import BenchmarkError
from benchmarks.table import WIDTH


@click.command()
@click.option("--jobs", default=5000, show_default=True, type=click.IntRange(min=100))
@click.option("--seed", type=int, help="Repeat the jobs and the faults of an earlier run.")
@click.option("--quick", is_flag=True, help=f"{QUICK_JOBS} jobs, gone for a quarter of a minute.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def main(jobs: int, seed: int | None, quick: bool, as_json: bool) -> None:
    """Drill an outage and judge what the fleet did."""
    plan = Plan(QUICK_JOBS if quick else jobs, random.SystemRandom().randrange(10**6) if seed is None else seed, quick)
    directory = Path(tempfile.mkdtemp(prefix="openfall-outage-"))
    began = time.monotonic()
    try:
        drilled = _run(plan, directory)
    except BenchmarkError as error:
        raise click.ClickException(f"{error}. Everything that was written down is in {directory}") from error
    verdict = {**verdict_of(drilled), "seed": plan.seed, "seconds": round(time.monotonic() - began, 1)}
    if as_json:
        click.echo(json.dumps(verdict, indent=2))
    else:
        show(verdict)
    if verdict["kept"]:
        shutil.rmtree(directory)
        return
    click.echo(f"A promise was broken. Everything that was written down is in {directory}", err=True)
    sys.exit(1)


def _run(plan: Plan, directory: Path) -> Drilled:
    async def all_of_it(screen: Screen) -> Drilled:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await drill(plan, directory, screen)

    try:
        with Screen(plan.jobs) as screen:
            return asyncio.run(all_of_it(screen))
    except asyncio.CancelledError:
        raise BenchmarkError("stopped by a signal") from None
    except BaseExceptionGroup as group:
        raise BenchmarkError("; ".join(str(error) for error in group.exceptions)) from group


def verdict_of(drilled: Drilled) -> dict[str, Any]:
    """The promises, the account of every job, and how long things took."""
    evidence = drilled.evidence
    promises = judge(evidence)
    waited, inbox, fell = heard_after(evidence, "wait"), heard_after(evidence, "inbox"), degraded_after(evidence)
    return {
        "kept": all(promise.kept for promise in promises) and not drilled.complaints,
        "promises": [asdict(promise) for promise in promises],
        "complaints": drilled.complaints,
        "account": {urgency: dict(fates) for urgency, fates in account(evidence).items()},
        "figures": {
            "decided to heard by who waited (interactive)": percentiles(waited.clear),
            "the same, near a kill of Valkey": percentiles(waited.apart),
            "decided to read from the inbox (interactive)": percentiles(inbox.clear),
            "fell to decided (interactive)": percentiles(fell.clear),
            "the same, near a kill of Valkey or a degrade worker": percentiles(fell.apart),
            "asked to heard, while every backend was away (interactive)": percentiles(asked_to_heard(evidence)),
            "calls per job": round(len(evidence.calls) / max(1, len(evidence.accepted)), 3),
            "falls": len(evidence.written.falls),
            "changes to the notice": sum(post["method"] == "PATCH" for post in evidence.posts),
            "webhooks delivered": sum(hook["status"] < 300 for hook in evidence.hooks),
            "webhooks sent again": len(evidence.hooks) - len({hook["id"] for hook in evidence.hooks}),
            "killed": dict(Counter(fault.kind for fault in evidence.faults)),
        },
    }


def show(verdict: dict[str, Any]) -> None:
    """The promises, where every job is, and the figures."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(_promises(verdict))
    console.print(_account(verdict["account"]))
    figures = Table(box=SIMPLE_HEAD, show_header=False)
    figures.add_column(style="dim")
    figures.add_column()
    for name, value in verdict["figures"].items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else str(value)
        figures.add_row(name, shown)
    console.print(figures)
    for complaint in verdict["complaints"][:10]:
        console.print(complaint, style="red", markup=False, highlight=False)


def _promises(verdict: dict[str, Any]) -> Table:
    title = f"every backend gone, {verdict['seconds']:.0f} s, seed {verdict['seed']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in ("promise", "", "found"):
        table.add_column(heading)
    complaints = verdict["complaints"]
    besides = {"name": "no process ended by itself", "kept": not complaints, "told": str(len(complaints)), "named": ()}
    for promise in [*verdict["promises"], besides]:
        found = "  ".join([promise["told"], *promise["named"]])
        table.add_row(promise["name"], "[green]kept[/green]" if promise["kept"] else "[red]BROKEN[/red]", found)
    return table


def _account(told: dict[str, dict[str, int]]) -> Table:
    """Every accepted job in exactly one column."""
    table = Table(title="where every accepted job is", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("urgency")
    fates = [fate for fate in FATES if fate == "lost" or any(row.get(fate) for row in told.values())]
    for heading in ("accepted", *fates):
        table.add_column(heading, justify="right")
    rows = {name: told[name] for name in ("interactive", "background", "batch") if name in told}
    for name, row in rows.items():
        table.add_row(name, str(sum(row.values())), *(str(row.get(fate, 0)) for fate in fates))
    table.add_section()
    total = [sum(row.get(fate, 0) for row in rows.values()) for fate in fates]
    table.add_row("all", str(sum(total)), *map(str, total))
    return table


if __name__ == "__main__":
    main()
