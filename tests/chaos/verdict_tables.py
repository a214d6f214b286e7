"""Verdicts as tables."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.table import WIDTH
from tests.chaos.judge.delivery import FATES

MAX_PROBLEMS = 10

FAULT_COLUMNS = {
    "jobs": "jobs",
    "answered": "answered",
    "claims": "claimed for it",
    "calls": "calls it got",
    "allowed": "allowed",
    "probes": "probes",
    "opened": "opened",
    "open_period_s": "open s",
    "closed_after_s": "closed after s",
    "p50_s": "p50 s",
    "p100_s": "p100 s",
}


def show_promises(verdict: dict[str, Any]) -> None:
    """The promises, the account of every job if there is one, the figures, the problems."""
    console = _console()
    table = _table("promise", "", "finding", title=f"{verdict['seconds']:.0f} s, seed {verdict['seed']}")
    problems = verdict["problems"]
    other = {"name": "no process failed by itself", "kept": not problems, "finding": len(problems), "examples": ()}
    for promise in [*verdict["promises"], other]:
        finding = "  ".join([str(promise["finding"]), *promise["examples"]])
        table.add_row(promise["name"], "[green]kept[/green]" if promise["kept"] else "[red]BROKEN[/red]", finding)
    console.print(table)
    if "account" in verdict:
        console.print(_account(verdict["account"]))
    figures = Table(box=SIMPLE_HEAD, show_header=False)
    figures.add_column(style="dim")
    figures.add_column()
    for name, value in {**verdict["figures"], **_rq_info(verdict)}.items():
        text = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else str(value)
        figures.add_row(name.replace("_", " "), text)
    console.print(figures)
    for problem in problems[:MAX_PROBLEMS]:
        console.print(problem, style="red", markup=False, highlight=False)


def show_silence(verdict: dict[str, Any]) -> None:
    """A row for each file, fault and model: the longest silence of a caller over all chains."""
    console = _console()
    table = _table("file", "fault", "model", "chains", "silence s", "ends", title=f"{verdict['seconds']:.0f} s")
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in verdict["rows"]:
        groups.setdefault((row["file"], row["fault"], row["model"]), []).append(row)
    for (file, fault, model), rows in sorted(groups.items()):
        worst = max(row["silence"] for row in rows)
        color = "red" if worst > verdict["limit"] else "green"
        ends = ", ".join(sorted({row["end"] for row in rows}))
        table.add_row(file, fault, model, str(len(rows)), f"[{color}]{worst:.1f}[/{color}]", ends)
    console.print(table)
    worst = max((row["silence"] for row in verdict["rows"]), default=0.0)
    console.print(
        f"{len(verdict['rows'])} callers, the longest silence {worst:.1f} s of at most {verdict['limit']:g} s"
    )


def show_faults(verdict: dict[str, Any]) -> None:
    """A row for each kind of fault, then the violations."""
    console = _console()
    table = _table("", title=f"One of two upstreams broken, {verdict['seconds']:.0f} s")
    for heading in FAULT_COLUMNS.values():
        table.add_column(heading, justify="right")
    table.add_column("recorded as")
    table.add_column("")
    for kind in verdict["kinds"]:
        values = [kind["figures"][key] for key in FAULT_COLUMNS]
        errors = ", ".join(f"{name} {count}" for name, count in kind["figures"]["errors"].items())
        end = "[green]kept[/green]" if kind["kept"] else "[red]BROKEN[/red]"
        table.add_row(kind["name"], *("-" if value is None else str(value) for value in values), errors, end)
    console.print(table)
    for kind in verdict["kinds"]:
        for violation in (example for promise in kind["promises"] for example in promise["examples"]):
            console.print(f"{kind['name']}: {violation}", style="red", markup=False, highlight=False)


def show_hostile(verdict: dict[str, Any]) -> None:
    """A row for each hostile upstream: what its worker used, and what became of the jobs beside it."""
    headings = ("kind", "MB", "blocked s", "answered", "slowest s", "healthy breaker", "")
    table = _table(*headings, title="one worker under each hostile upstream")
    for row in verdict["rows"]:
        end = "[green]kept[/green]" if row["kept"] else "[red]BROKEN[/red]"
        answered = f"{row['answered']} of {row['asked']}"
        numbers = (str(row["memory_mb"]), f"{row['blocked_seconds']:g}", answered, f"{row['slowest_seconds']:.2f}")
        table.add_row(row["kind"], *numbers, row["healthy_breaker"], end if row["alive"] else "[red]DIED[/red]")
    _console().print(table)


def show_hostile_gateway(verdict: dict[str, Any]) -> None:
    """A row for each kind of hostile client: what the gateway used, and what became of the requests beside it."""
    table = _table(
        "kind", "MB", "answered", "slowest s", "calm s", "", title="one gateway under each kind of hostile client"
    )
    for row in verdict["rows"]:
        end = "[green]kept[/green]" if row["kept"] else "[red]BROKEN[/red]"
        answered = f"{row['answered']} of {row['requests']}"
        table.add_row(
            row["kind"],
            str(row["memory_mb"]),
            answered,
            f"{row['slowest_seconds']:.2f}",
            f"{row['calm_seconds']:.2f}",
            end,
        )
    console = _console()
    console.print(table)
    for problem in verdict["problems"][:MAX_PROBLEMS]:
        console.print(problem, style="red", markup=False, highlight=False)


def show_garbage(verdict: dict[str, Any]) -> None:
    """What was damaged, and a row for each damage after which something else did not work."""
    table = _table("key", "damage", "what did not work", title="keys overwritten in Redis")
    for row in verdict["broken"]:
        table.add_row(escape(row["key"]), row["damage"], escape("\n".join(row["problems"])))
    for name, figure in verdict["figures"].items():
        table.add_row(name.replace("_", " "), "", escape(str(figure)))
    _console().print(table)


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def _table(*headings: str, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading)
    return table


def _rq_info(verdict: dict[str, Any]) -> dict[str, Any]:
    return {"rq info runs": verdict["rq_info_runs"]} if "rq_info_runs" in verdict else {}


def _account(counts: dict[str, dict[str, int]]) -> Table:
    """Every accepted job is in exactly one column."""
    fates = [fate for fate in FATES if fate == "lost" or any(row.get(fate) for row in counts.values())]
    table = _table("urgency", title="where every accepted job is")
    for heading in ("accepted", *fates):
        table.add_column(heading, justify="right")
    rows = {name: counts[name] for name in ("interactive", "background", "batch") if name in counts}
    for name, row in rows.items():
        table.add_row(name, str(sum(row.values())), *(str(row.get(fate, 0)) for fate in fates))
    table.add_section()
    total = [sum(row.get(fate, 0) for row in rows.values()) for fate in fates]
    table.add_row("all", str(sum(total)), *map(str, total))
    return table


def show_sentinel(verdict: dict[str, Any]) -> None:
    """The figures of a run with Sentinel, one a line."""
    for name, value in verdict.items():
        if name != "problems":
            click.echo(f"{name}: {value}")
    for problem in verdict["problems"][:10]:
        click.echo(f"problem: {problem}")
