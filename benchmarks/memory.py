"""What a job costs at depth: bytes of Valkey for each queued and each finished job, and CPU a job with many queued.

Bytes are the growth of `used_memory` over the number of jobs. CPU is measured while a worker takes a few thousand
jobs off the top of the queue, so a cost that grows with depth shows. Only openfall goes to a million: the others
would take the better part of an hour to fill.
"""

from __future__ import annotations

import time

import click
from rich.console import Console

from benchmarks.contenders import OURS, PEERS, Peer, select_peers
from benchmarks.processes import BenchmarkError, Child
from benchmarks.repeat import Case, Heading, interleaved, sheet
from benchmarks.run_environment import Demand, RunEnvironment, pause, run_environment
from benchmarks.table import Sheet, show
from benchmarks.throughput import DRAIN, between

COMPARED = tuple(peer for peer in PEERS if peer.module in {"openfall", "rq", "arq", "taskiq", "saq"})
COLUMNS = {
    "queued_bytes": "bytes/queued job",
    "finished_bytes": "bytes/finished job",
    "rate": "jobs/s",
    "worker_cpu": "worker CPU µs/job",
    "valkey_cpu": "Valkey CPU µs/job",
}
DEPTHS = (1_000, 5_000, 100_000, 1_000_000)
DEEPEST_OF_OTHERS = 1_000
QUICK_DEPTHS = (1_000, 10_000)
MOST_TAKEN = 5_000
"""Jobs that the worker takes off the queue at most while its cost is measured."""


def measure(peer: Peer, depth: int, console: Console) -> dict[str, float]:
    """One run at one depth."""
    with run_environment(peer, Demand(depth), console) as run:
        empty = run.server.used_memory
        run.run_command("fill")
        full = run.server.used_memory
        taken = min(depth, MOST_TAKEN)
        with run.worker() as worker:
            run.wait_until_ready(worker)
            figures = _take(run, worker, taken)
            if taken == depth:
                figures["finished_bytes"] = _settled(run, depth) / depth
    return {**figures, "queued_bytes": (full - empty) / depth}


def _take(run: RunEnvironment, worker: Child, taken: int) -> dict[str, float]:
    """Rates while the worker carries out `taken` jobs."""
    samples = [run.sample(worker)]
    end = time.monotonic() + DRAIN
    while samples[-1].answered < taken:
        if time.monotonic() > end or worker.popen.poll() is not None:
            raise BenchmarkError(f"{samples[-1].answered:.0f} of {taken} jobs were answered. {worker.last_output}")
        pause(0.01)
        samples.append(run.sample(worker))
    return between(samples, taken)


def _settled(run: RunEnvironment, depth: int) -> float:
    """Bytes that all jobs take once every one has its result, or has had three seconds to: what a flush gives back.

    Connections and scripts, which stay, are not counted as jobs.
    """
    end = time.monotonic() + 3.0
    while int(run.run_command("stored")["stored"]) < depth and time.monotonic() < end:
        pause(0.1)
    full = run.server.used_memory
    run.server.client.execute_command("FLUSHALL", "SYNC")
    return full - run.server.used_memory


def compare(peers: tuple[Peer, ...], quick: bool, console: Console) -> list[Sheet]:
    """Each depth a sheet."""
    depths = QUICK_DEPTHS if quick else DEPTHS
    cases = [Case(peer, d) for d in depths for peer in peers if peer.name == OURS or d <= DEEPEST_OF_OTHERS]
    repetitions = 1 if quick else 2
    outcomes = interleaved(cases, repetitions, lambda case: measure(case.peer, int(case.setting), console), console)
    return [
        sheet(
            Heading(f"Cost of a job with {depth:,} queued", COLUMNS, "queued_bytes"),
            {case: outcome for case, outcome in outcomes.items() if case.setting == depth},
        )
        for depth in depths
        if any(case.setting == depth for case in cases)
    ]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="Depths of 1,000 and 10,000, once.")
@click.option("--peer", "names", multiple=True, type=click.Choice([peer.module for peer in COMPARED]))
def main(as_json: bool, quick: bool, names: tuple[str, ...]) -> None:
    """Compare what jobs cost in memory and CPU."""
    show(compare(select_peers(names, COMPARED), quick, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
