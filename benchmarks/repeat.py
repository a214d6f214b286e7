"""Repetitions, interleaved: every case once, then every case again, so that a noisy minute affects every case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from benchmarks.contenders import OURS, Peer
from benchmarks.processes import BenchmarkError
from benchmarks.table import Row, Sheet, figure


@dataclass(frozen=True)
class Case:
    """One peer under one setting: a latency, a depth, a mode."""

    peer: Peer
    setting: float | str


@dataclass
class Outcome:
    """What its repetitions gave, and the last reason why one gave nothing."""

    runs: list[dict[str, float]] = field(default_factory=list)
    failed: str = ""


def interleaved(
    cases: Sequence[Case], repetitions: int, measure: Callable[[Case], dict[str, float]], console: Console
) -> dict[Case, Outcome]:
    """Measure every case `repetitions` times. A case that fails is reported, and does not stop the others."""
    outcomes = {case: Outcome() for case in cases}
    total = len(cases) * repetitions
    for at in range(total):
        case = cases[at % len(cases)]
        console.print(f"[dim]{at + 1}/{total} {case.peer.name}, {case.setting}[/dim]", highlight=False)
        try:
            outcomes[case].runs.append(measure(case))
        except BenchmarkError as error:
            outcomes[case].failed = str(error)
    return outcomes


@dataclass(frozen=True)
class Heading:
    """What a sheet is called, its columns (key to heading), and the one by which peers are compared."""

    title: str
    columns: Mapping[str, str]
    ratio: str
    notes: tuple[str, ...] = ()


def sheet(heading: Heading, outcomes: Mapping[Case, Outcome]) -> Sheet:
    """A row for each case, with ratios to ours."""
    rows = []
    for case, outcome in outcomes.items():
        figures = {key: figure([run[key] for run in outcome.runs if key in run]) for key in heading.columns}
        rows.append(Row(case.peer.name, figures, "" if outcome.runs else outcome.failed))
    return Sheet(heading.title, heading.columns, rows, heading.ratio, OURS, heading.notes)
