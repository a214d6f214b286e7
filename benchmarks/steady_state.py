"""What a worker of openfall costs over time: CPU when there is nothing to do, and memory over many jobs."""

from __future__ import annotations

import statistics

import click
from rich.console import Console

from benchmarks.contenders import OURS, PEERS
from benchmarks.processes import BenchmarkError, usage
from benchmarks.run_environment import Demand, RunEnvironment, pause, run_environment
from benchmarks.table import Row, Sheet, figure, show
from benchmarks.throughput import DRAIN

COLUMNS = {
    "idle_cpu": "idle CPU % of a core",
    "rss_tenth": "RSS MB after a tenth",
    "rss_half": "RSS MB after half",
    "rss_all": "RSS MB after all",
}
JOBS = 100_000
IDLE = 20.0
"""Seconds for which an idle worker is watched. It beats ten times in these."""


def measure(jobs: int, console: Console) -> dict[str, float]:
    """One worker, idle and then at work."""
    peer = next(peer for peer in PEERS if peer.name == OURS)
    with run_environment(peer, Demand(jobs), console) as run, run.worker() as worker:
        run.wait_until_ready(worker)
        pause(3.0)
        before = usage(worker.popen.pid).cpu_seconds
        pause(IDLE)
        idle = (usage(worker.popen.pid).cpu_seconds - before) / IDLE * 100
        run.run_command("fill")
        rss = {share: _rss_at(run, worker.popen.pid, int(jobs * share)) for share in (0.1, 0.5, 1.0)}
    return {"idle_cpu": idle, "rss_tenth": rss[0.1], "rss_half": rss[0.5], "rss_all": rss[1.0]}


def _rss_at(run: RunEnvironment, pid: int, answered: int) -> float:
    """The worker's memory, MB, when this number of jobs is answered. The median of five samples: it varies."""
    for _ in range(int(DRAIN / 0.1)):
        if run.upstream_stats()["answered"] >= answered:
            return statistics.median(_sample_rss(pid) for _ in range(5)) / 1e6
        pause(0.1)
    raise BenchmarkError(f"{answered} jobs were not answered in {DRAIN:.0f} s")


def _sample_rss(pid: int) -> float:
    pause(0.05)
    return usage(pid).rss


def compare(jobs: int, console: Console) -> list[Sheet]:
    """One sheet, without a comparison: there is only a limit to keep."""
    row = Row(OURS, {name: figure([value]) for name, value in measure(jobs, console).items()})
    return [Sheet(f"A worker over {jobs:,} jobs", COLUMNS, [row])]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--jobs", default=JOBS, show_default=True, type=click.IntRange(min=100))
def main(as_json: bool, jobs: int) -> None:
    """Watch one worker idle, then through many jobs."""
    show(compare(jobs, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
