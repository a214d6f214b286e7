"""How long interactive jobs wait with batch jobs behind them, and whether batch moves while interactive jobs wait.

Real worker processes, an upstream that takes 50 ms, one backend. A wait is the time from the caller's submit to the
call's arrival at the upstream: both moments are CLOCK_MONOTONIC of one machine. Interactive jobs arrive at random
(Poisson) at half of what the slots can do. Turns with and without a flood of batch jobs alternate on one fleet; without
one, the batch queue is empty the first time and paused from then on. Then interactive jobs come in faster than they can
be done, and what is done is counted by urgency. Exits with 1 when a promise is broken. With `--turns` it measures
instead what the turns among producers cost Redis (turns.py).
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import yaml
from rich.console import Console

from benchmarks.latency import quantile, read_events
from benchmarks.peers.parameters import Order
from benchmarks.processes import BenchmarkError, started, wait_for
from benchmarks.run_environment import START_TIMEOUT_S, Demand, upstream
from benchmarks.server import valkey
from benchmarks.table import Row, Sheet, figure, show
from benchmarks.turns import compare
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import JobRequest, SubmitOptions
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS
from openfall.router_core.state.operator_switches import pause_queue, resume_queue
from openfall.router_core.vocabulary import Urgency

LATENCY_MS, SLOTS, PROCESSES = 50.0, 8, 2
CAPACITY = SLOTS / LATENCY_MS * 1000
"""Jobs a second."""
SHARE = URGENCY_DEFAULTS[Urgency.BATCH].min_share
LONGER, DUE = 1.2, 2
"""The 95th percentile may be LONGER times that of empty queues, and one call more. Batch may lack DUE jobs of its
share: those whose turn is next."""
EMPTY, FLOODED = "empty queues", "batch jobs queued"
BATCH_QUEUE = "gpu.coder.batch"
ARRIVAL_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Plan:
    """`turns` of `seconds` each with and without `batch` jobs; then as many interactive jobs as take `seconds`."""

    seconds: float
    turns: int
    batch: int = 10_000


FULL, QUICK = Plan(15, 3), Plan(5, 1)


@dataclass
class Outcome:
    """The waits in ms by turn, and what was done while interactive jobs waited, by urgency."""

    waits: dict[str, list[list[float]]] = field(default_factory=lambda: {EMPTY: [], FLOODED: []})
    done: Counter[str] = field(default_factory=Counter)

    def quantile(self, name: str, share: float) -> float:
        return quantile([wait for turn in self.waits[name] for wait in turn], share)

    @property
    def part(self) -> float:
        """Batch's part of what was done."""
        return self.done["batch"] / max(1, self.done.total())


def broken(outcome: Outcome) -> list[str]:
    """The promises that were not kept, in words."""
    findings = []
    empty, flooded = outcome.quantile(EMPTY, 0.95), outcome.quantile(FLOODED, 0.95)
    if flooded > LONGER * empty + LATENCY_MS:
        findings.append(
            f"interactive jobs waited {flooded:.0f} ms (p95) with batch jobs queued, {empty:.0f} ms without"
        )
    if outcome.done["batch"] + DUE < SHARE * outcome.done.total():
        findings.append(f"batch got {outcome.part:.1%} of what was done while interactive jobs waited, not {SHARE:.0%}")
    return findings


@dataclass(frozen=True)
class Bench:
    """A fleet at work, a client, and the log of every call."""

    client: AsyncOpenfall
    log: Path
    plan: Plan
    random: random.Random = field(default_factory=lambda: random.Random(20))

    async def flood(self) -> None:
        await self._submit("b", self.plan.batch, "batch")

    async def _submit(self, name: str, count: int, urgency: str) -> None:
        requests = [
            JobRequest(Order(f"{name}-{n:06}").body, SubmitOptions(model="coder", urgency=urgency))
            for n in range(count)
        ]
        for answer in await self.client.submit_many(requests):
            if isinstance(answer, Exception):
                raise BenchmarkError(f"a job was refused: {answer}")

    async def turn(self, name: str) -> list[float]:
        """Interactive jobs at random moments: how long each waited, in ms."""
        submitted: dict[str, float] = {}
        tasks = []
        end = time.monotonic() + self.plan.seconds
        while time.monotonic() < end:
            marker = f"{name}-{len(tasks):06}"
            submitted[marker] = time.monotonic()
            options = SubmitOptions(model="coder", urgency="interactive")
            tasks.append(asyncio.create_task(self.client.submit(Order(marker).body, **options)))
            await asyncio.sleep(self.random.expovariate(CAPACITY / 2))
        await asyncio.gather(*tasks)
        arrived = await self._arrivals(submitted)
        return [(arrived[marker] - at) * 1000 for marker, at in submitted.items()]

    async def _arrivals(self, wanted: dict[str, float]) -> dict[str, float]:
        until = time.monotonic() + ARRIVAL_TIMEOUT_S
        while time.monotonic() < until:
            arrived = read_events(self.log, "received")
            if wanted.keys() <= arrived.keys():
                return arrived
            await asyncio.sleep(0.2)
        raise BenchmarkError("a job never reached the upstream")

    async def saturate(self) -> Counter[str]:
        """More interactive jobs than can be done: what was done by urgency, while nine in ten of them waited."""
        count = int(self.plan.seconds * CAPACITY)
        await self._submit("s", count, "interactive")
        began = time.monotonic()
        arrived = await self._arrivals(dict.fromkeys((f"s-{n:06}" for n in range(count)), 0.0))
        until = quantile([at for marker, at in arrived.items() if marker.startswith("s-")], 0.9)
        done = [marker for marker, at in read_events(self.log, "answered").items() if began < at < until]
        return Counter("batch" if marker.startswith("b-") else "interactive" for marker in done)


async def measure(bench: Bench, console: Console) -> Outcome:
    """All turns, then the saturating load."""
    outcome, link = Outcome(), bench.client.store.connection
    for n in range(bench.plan.turns):
        console.print(f"[dim]turn {n + 1}/{bench.plan.turns}[/dim]", highlight=False)
        outcome.waits[EMPTY].append(await bench.turn(f"e{n}"))
        if n == 0:
            await bench.flood()
        await resume_queue(link, BATCH_QUEUE)
        outcome.waits[FLOODED].append(await bench.turn(f"f{n}"))
        await pause_queue(link, BATCH_QUEUE)
        await asyncio.sleep(2 * LATENCY_MS / 1000)  # until the last batch calls have ended
    await resume_queue(link, BATCH_QUEUE)
    outcome.done = await bench.saturate()
    return outcome


@contextmanager
def fleet() -> Iterator[tuple[Path, Path]]:
    """A Valkey, an upstream and the workers: their configuration, and the log of calls."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openfall-bench-")))
        server = stack.enter_context(valkey())
        log = directory / "calls.jsonl"
        url = stack.enter_context(upstream(directory, Demand(0, LATENCY_MS), log))
        config = _write_config(directory, server.url, url)
        argv = [sys.executable, "-m", "openfall.workers", "work", "gpu", "--config", str(config)]
        workers = [stack.enter_context(started(argv, directory / f"worker-{n}.log")) for n in range(PROCESSES)]
        wait_for(
            lambda: server.client.zcard("of:presence") >= PROCESSES,
            START_TIMEOUT_S,
            "the workers to start",
            workers[-1],
        )
        yield config, log


def _write_config(directory: Path, redis: str, url: str) -> Path:
    place = directory / "openfall.yaml"
    backend = {"url": f"{url}/v1", "pool": "gpu", "slots": SLOTS, "reuse_connections": True}
    config = {
        "redis": redis, "data": str(directory / "data"), "backends": {"mock": backend},
        "models": {"coder": {"upstream": "mock", "backends": ["mock"]}}, "roles": {"bench": {"chain": ["coder"]}},
    }  # fmt: skip
    place.write_text(yaml.safe_dump(config))
    return place


def run(plan: Plan, console: Console) -> Outcome:
    """Everything on a fleet of its own."""

    async def story(config: Path, log: Path) -> Outcome:
        async with AsyncOpenfall(config=config) as client:
            return await measure(Bench(client, log, plan), console)

    with fleet() as (config, log):
        return asyncio.run(story(config, log))


def sheets(outcome: Outcome) -> list[Sheet]:
    """The waits side by side, and what was done."""
    columns = {"p50": "p50 ms", "p95": "p95 ms", "max": "max ms", "jobs": "jobs"}
    rows = [
        Row(name, {"p50": figure([quantile(turn, 0.5) for turn in turns]),
                   "p95": figure([quantile(turn, 0.95) for turn in turns]),
                   "max": figure([max(turn) for turn in turns]), "jobs": figure([sum(map(len, turns))])})
        for name, turns in outcome.waits.items()
    ]  # fmt: skip
    done = [Row(urgency, {"done": figure([count])}) for urgency, count in sorted(outcome.done.items())]
    note = f"Batch got {outcome.part:.1%} of it; its share is {SHARE:.0%}."
    load = f"{CAPACITY / 2:.0f} of {CAPACITY:.0f} a second"
    return [
        Sheet(f"Interactive jobs, {load}: submit to started", columns, rows, "p95", EMPTY),
        Sheet("Done while interactive jobs waited", {"done": "jobs"}, done, notes=(note,)),
    ]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="Less of everything.")
@click.option("--turns", is_flag=True, help="Measure the cost of turns among producers.")
def main(as_json: bool, quick: bool, turns: bool) -> None:
    """Measure what batch costs interactive jobs, and what it gets beside them."""
    if turns:
        show(compare(10_000, 20 if quick else 100), as_json)
        return
    outcome = run(QUICK if quick else FULL, Console(stderr=True))
    show(sheets(outcome), as_json)
    for words in broken(outcome):
        click.echo(f"broken: {words}", err=True)
    raise click.exceptions.Exit(1 if broken(outcome) else 0)


if __name__ == "__main__":
    main()
