"""From submit to started, at 200 jobs a second: from the caller's `put` to the call's arrival at the upstream.

Both moments are CLOCK_MONOTONIC of one machine and nothing is subtracted: it includes the submit, the queue, the
claim and the HTTP request. For openfall the one worker watches 12 queues (4 models, 3 urgencies) that get their jobs
in turn; the others watch one, which is what they can. The first job counts: the worker has only reported that it runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks.contenders import PEERS, Peer, select_peers
from benchmarks.processes import BenchmarkError
from benchmarks.repeat import Case, Heading, interleaved, sheet
from benchmarks.run_environment import Demand, pause, run_environment
from benchmarks.table import Sheet, show

RATE = 200
LANES = 12
UPSTREAM_MS = 20.0
COMPARED = tuple(peer for peer in PEERS if peer.module in {"openfall", "arq", "taskiq", "saq"})
COLUMNS = {
    "p50": "p50 ms",
    "p90": "p90 ms",
    "p99": "p99 ms",
    "max": "max ms",
    "first_p50": "first second: p50 ms",
    "first_max": "first second: max ms",
}
ARRIVAL_TIMEOUT_S = 30.0
"""After the last submit, every call arrives within this time."""


def measure(peer: Peer, seconds: float, console: Console) -> dict[str, float]:
    """One run: `seconds` of steady submits, the first of them apart. Milliseconds."""
    with (
        run_environment(peer, Demand(int(RATE * seconds), UPSTREAM_MS, LANES, log=True), console) as run,
        run.worker() as worker,
    ):
        run.wait_until_ready(worker)
        pace = run.run_command("pace", "--rate", str(RATE))
        end = time.monotonic() + ARRIVAL_TIMEOUT_S
        while run.upstream_stats()["received"] < run.parameters.count and time.monotonic() < end:
            pause()
        assert run.log is not None
        arrived = read_events(run.log, "received")
    submitted: dict[str, float] = pace["submitted"]
    if missing := len(submitted.keys() - arrived.keys()):
        raise BenchmarkError(f"{missing} of {len(submitted)} jobs never reached the upstream")
    added = [(at - pace["began"], (arrived[job] - at) * 1000) for job, at in submitted.items()]
    first = [ms for since, ms in added if since < 1.0]
    later = [ms for since, ms in added if since >= 1.0]
    return {
        "p50": quantile(later, 0.50),
        "p90": quantile(later, 0.90),
        "p99": quantile(later, 0.99),
        "max": max(later),
        "first_p50": quantile(first, 0.50),
        "first_max": max(first),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def read_events(log: Path, kind: str) -> dict[str, float]:
    """When each job's call first was `received` or `answered`, by the log of the mock upstream."""
    moments: dict[str, float] = {}
    for event in map(json.loads, log.read_text().splitlines()):
        if event["event"] == kind:
            moments.setdefault(event["job"], event["monotonic"])
    return moments


def compare(peers: tuple[Peer, ...], quick: bool, console: Console) -> list[Sheet]:
    """The peers that answer by the second."""
    seconds, repetitions = (3.0, 1) if quick else (15.0, 3)
    cases = [Case(peer, f"{RATE} jobs/s") for peer in peers]
    outcomes = interleaved(cases, repetitions, lambda case: measure(case.peer, seconds, console), console)
    note = f"The first second has {RATE} jobs and stands apart. openfall watches {LANES} queues, the others one."
    return [sheet(Heading(f"Submit to started at {RATE} jobs/s", COLUMNS, "p50", (note,)), outcomes)]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="Three seconds each, once.")
@click.option("--peer", "names", multiple=True, type=click.Choice([peer.module for peer in COMPARED]))
def main(as_json: bool, quick: bool, names: tuple[str, ...]) -> None:
    """Compare the time from submit to started."""
    show(compare(select_peers(names, COMPARED), quick, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
