"""Jobs a second, CPU a job and memory of the workers, side by side: 128 calls in flight, an upstream of 0, 20, 100 ms.

Each run starts afresh: Valkey, upstream, a full queue, then the worker. The rate is the upstream's: answers between
the moments when 10 % and 90 % of the jobs had theirs, after every worker process was up. CPU is of the same window.
Repetitions are interleaved, so that a noisy minute of the machine touches everyone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import click
from rich.console import Console

from benchmarks.processes import BenchmarkError, usage
from benchmarks.rig import Demand, Rig, pause, rig
from benchmarks.roster import OURS, PEERS, Peer, chosen
from benchmarks.table import Row, Sheet, figure, show

COLUMNS = {
    "rate": "jobs/s",
    "worker_cpu": "worker CPU µs/job",
    "valkey_cpu": "Valkey CPU µs/job",
    "rss_mb": "worker RSS MB",
    "upstream_load": "upstream CPU %",
}
DRAIN = 120.0
"""Seconds after which a run that is not through has failed."""

FEWEST = 20
"""Jobs in the shortest run."""


@dataclass(frozen=True)
class Sample:
    """One look at a run: a moment, what had been answered by then, and the CPU seconds used so far."""

    at: float
    answered: float
    worker_cpu: float
    valkey_cpu: float
    upstream_cpu: float
    rss: int


@dataclass(frozen=True)
class Plan:
    """How much is run: seconds of work for each run, and how often each is repeated."""

    seconds: float
    repetitions: int
    latencies: tuple[float, ...]


FULL = Plan(seconds=6.0, repetitions=3, latencies=(0, 20, 100))
QUICK = Plan(seconds=1.5, repetitions=1, latencies=(0, 100))


def jobs_for(peer: Peer, latency_ms: float, seconds: float) -> int:
    """Enough jobs to keep a peer busy for about that long."""
    ceiling = peer.slots / (latency_ms / 1000) if latency_ms else peer.hint
    return max(FEWEST, int(min(peer.hint, ceiling) * seconds))


def measure(peer: Peer, latency_ms: float, seconds: float, console: Console) -> dict[str, float]:
    """One run; `BenchmarkError` when the peer does not get through it, or a job is left without its result."""
    count = jobs_for(peer, latency_ms, seconds)
    with rig(peer, Demand(count, latency_ms), console) as run:
        if peer.queue:
            run.verb("fill")
        samples = _watch(run)
    return _between(samples, count)


def _watch(run: Rig) -> list[Sample]:
    """Samples from the moment when all workers are up until every job has been answered."""
    count, samples = run.terms.count, []
    end = time.monotonic() + DRAIN
    with run.worker() as worker:
        run.wait_until_ready(worker)
        while not samples or samples[-1].answered < count:
            if time.monotonic() > end:
                got = samples[-1].answered
                raise BenchmarkError(f"{run.peer.name}: {got:.0f} of {count} jobs in {DRAIN:.0f} s. {worker.said}")
            seen, used = run.seen(), usage(worker.popen.pid)
            cpu = run.server.cpu_seconds
            samples.append(
                Sample(seen["monotonic"], seen["answered"], used.cpu_seconds, cpu, seen["cpu_seconds"], used.rss)
            )
            if worker.popen.poll() is not None and samples[-1].answered < count:
                raise BenchmarkError(f"{run.peer.name}: its worker ended ({worker.popen.returncode}). {worker.said}")
            pause()
        if run.peer.queue:
            _await_stored(run, count)
    return samples


def _await_stored(run: Rig, count: int) -> None:
    end = time.monotonic() + 10
    while (stored := run.verb("stored")["stored"]) < count:
        if time.monotonic() > end:
            raise BenchmarkError(f"{run.peer.name}: {count} jobs were answered, {stored} results are in Redis")
        pause(0.1)


def _between(samples: list[Sample], count: int) -> dict[str, float]:
    """Rates over the window from 10 % to 90 %: the last sample before, and the first one after."""
    first = next((at for at in samples if at.answered >= 0.1 * count), samples[0])
    last = next(at for at in samples if at.answered >= 0.9 * count)
    if last.at <= first.at:
        first = samples[0]
    jobs, seconds = last.answered - first.answered, last.at - first.at
    if not jobs:
        raise BenchmarkError("the run was over before it could be measured: it needs more jobs")
    return {
        "rate": jobs / seconds,
        "worker_cpu": (last.worker_cpu - first.worker_cpu) / jobs * 1e6,
        "valkey_cpu": (last.valkey_cpu - first.valkey_cpu) / jobs * 1e6,
        "rss_mb": last.rss / 1e6,
        "upstream_load": (last.upstream_cpu - first.upstream_cpu) / seconds * 100,
    }


def compare(peers: tuple[Peer, ...], plan: Plan, console: Console) -> list[Sheet]:
    """All peers at all latencies, repetitions interleaved."""
    measured: dict[tuple[float, str], list[dict[str, float]]] = {}
    failed: dict[tuple[float, str], str] = {}
    runs = [(ms, peer) for _ in range(plan.repetitions) for ms in plan.latencies for peer in peers]
    for at, (ms, peer) in enumerate(runs, 1):
        console.print(f"[dim]{at}/{len(runs)} {peer.name}, upstream {ms:g} ms[/dim]")
        try:
            measured.setdefault((ms, peer.name), []).append(measure(peer, ms, plan.seconds, console))
        except BenchmarkError as error:
            failed[ms, peer.name] = str(error)
    return [_sheet(ms, peers, lambda name, ms=ms: (measured.get((ms, name), []), failed.get((ms, name), "")))
            for ms in plan.latencies]  # fmt: skip


def _sheet(ms: float, peers: tuple[Peer, ...], told: Callable[[str], tuple[list[dict[str, float]], str]]) -> Sheet:
    rows = []
    for peer in peers:
        runs, failed = told(peer.name)
        figures = {key: figure([run[key] for run in runs]) for key in COLUMNS}
        rows.append(Row(f"{peer.name} [{peer.slots}]", figures, "" if runs else failed))
    ceiling = "" if not ms else f"; 128 in flight can do {128 / ms * 1000:,.0f} jobs/s"
    notes = [f"In brackets: calls in flight. Upstream answers after {ms:g} ms{ceiling}."]
    ours = next((f"{peer.name} [{peer.slots}]" for peer in peers if peer.name == OURS), "")
    return Sheet(f"Throughput, upstream {ms:g} ms", COLUMNS, rows, "rate" if ours else "", ours, notes)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="One short run each: less than two minutes.")
@click.option("--peer", "names", multiple=True, type=click.Choice([peer.module for peer in PEERS]))
@click.option("--latency-ms", "latencies", multiple=True, type=float)
def main(as_json: bool, quick: bool, names: tuple[str, ...], latencies: tuple[float, ...]) -> None:
    """Compare throughput."""
    plan = QUICK if quick else FULL
    plan = Plan(plan.seconds, plan.repetitions, latencies or plan.latencies)
    show(compare(chosen(names), plan, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
