"""The cost of breakers, keys, limits, cards ...: server time of a claim of one job and of its settle, side by side.

Every duration is Valkey's own (its slow log, with a threshold of 0): no network, no Python. Claims without breakers run
the same script without the parts that read blocks and epochs. Claims without shares have no urgency with a share. With
`batch kept waiting` all is well too, but 100 batch jobs wait behind. The variants take turns on one server, so that
noise hits all of them. Of each turn the mean of the middle half counts: it is free of preemptions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
from redis import Redis
from rich.console import Console

from benchmarks.processes import BenchmarkError
from benchmarks.server import valkey
from benchmarks.table import Row, Sheet, figure, show
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budget_scope import CallPrice
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.policies import BreakerPolicy
from openfall.router_core.catalog.rate_limits import Rate, rates_for
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys, scripts
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection, pack_arguments
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import BreakerState, CallSignal, CredentialSignal, ErrorClass

URGENCIES, SHARES = ("interactive", "background", "batch"), (0.0, 0.1, 0.05)
QUEUES = (12, 150)
"""A small fleet, and one of 50 models."""
OPEN_BREAKERS = {"all is well": 0, "1 breaker open": 1, "20 breakers open": 20}
NO_BREAKERS, NO_SHARES, BATCH_WAITS = "without breakers", "without shares", "batch kept waiting"
THREE_KEYS, LIMITS = "three keys", "limits of requests and tokens"
BUDGETS, CARDS = "three budgets", "models on cards"
VARIANTS = (NO_BREAKERS, NO_SHARES, *OPEN_BREAKERS, BATCH_WAITS, THREE_KEYS, LIMITS, BUDGETS, CARDS)
THREE_BUDGETS = tuple(Budget(name=name, usd=10**6) for name in ("day", "other-day", "third-day"))
PRICE = CallPrice(input=1, output=1, request=0, web_search=0, answer=1)
RATES = rates_for(Backend(url="http://box", pool="gpu", requests_per_minute=10**7, tokens_per_minute=10**9))
"""Limits that are never reached."""
COLUMNS = {"usec": "server µs", "p90": "server µs, 90th percentile"}
TURNS, BATCH_SIZE = 40, 100
CUTS = (
    (f"guarded_call('HGETALL', '{keys.BLOCKED}')", "{}"),
    (f"guarded_call('HGET', '{keys.BREAKER}' .. target, 'epoch') or '0'", "'0'"),
)
"""Replacements in the script without breakers."""


class BareLink:
    """A connection whose claims do not read breakers."""

    def __init__(self, link: RedisConnection) -> None:
        claim = scripts.load("claim")
        text = claim.library.decode()
        for part, replacement in CUTS:
            if text.count(part) != 1:
                raise BenchmarkError(f"claim.lua has changed: {part!r} is not once in it")
            text = text.replace(part, replacement)
        self._link, self._function = link, f"{claim.function}_bare"
        self.library = text.replace(claim.function, self._function)

    async def script(self, name: str, arguments: Any, *bodies: Any) -> Any:
        if name != "claim":
            return await self._link.script(name, arguments, *bodies)
        return await self._link.command("FCALL", self._function, 0, "", pack_arguments(arguments), *bodies)


@dataclass(frozen=True)
class Pool:
    """The queues of one pool: three for each model, each model at two backends that have a key, or several, and limits,
    or none."""

    queues: int
    shares: bool = True
    more_keys: tuple[str, ...] = ()
    rates: tuple[Rate, ...] = ()
    budgets: tuple[Budget, ...] = ()
    cards: bool = False
    """All backends are on one card, which has three models in memory, which have slots of their own."""

    def subscriptions(self) -> list[QueueSubscription]:
        models = range(self.queues // len(URGENCIES))
        return [
            QueueSubscription(f"gpu.model-{n}.{urgency}",
                    (self._backend(f"box-{n % 7}", "0a1b"), self._backend("tower", "2c3d")),
                    min_share=share * self.shares)
            for urgency, share in zip(URGENCIES, SHARES, strict=True)
            for n in models
        ]  # fmt: skip

    def _backend(self, name: str, key: str) -> BackendCapacity:
        names = tuple(budget.name for budget in self.budgets)
        price = PRICE if names else None
        card = {"card": "card", "model_slots": 1024} if self.cards else {}
        return BackendCapacity(name, 4096, (key, *self.more_keys), rates=self.rates, budgets=names, price=price, **card)

    @property
    def filled_queue(self) -> str:
        """The queue of all jobs: halfway down, so that a claim examines others first. Its model is healthy."""
        return self.subscriptions()[self.queues // 2].queue

    def targets_to_open(self, count: int) -> list[str]:
        """Targets to open: those of this worker's other models first, then those of unknown models."""
        model = self.filled_queue.split(".")[1]
        ours = [f"{capacity.name}/{name}" for queue in self.subscriptions() for capacity in queue.backends
                if (name := queue.queue.split(".")[1]) != model]  # fmt: skip
        return [*dict.fromkeys(ours), *(f"far/other-{n}" for n in range(count))][:count]


@dataclass
class Measured:
    """The durations of one kind of call, by turn, in µs."""

    turns: list[list[int]]

    def row(self, name: str) -> Row:
        rows = {
            "usec": figure([_middle(turn) for turn in self.turns]),
            "p90": figure([float(sorted(turn)[len(turn) * 9 // 10]) for turn in self.turns]),
        }
        return Row(name, rows)


def _middle(durations: Sequence[int]) -> float:
    middle = sorted(durations)[len(durations) // 4 : len(durations) * 3 // 4]
    return sum(middle) / len(middle)


@dataclass(frozen=True)
class Bench:
    """One server, a connection to it, and a reader of its slow log."""

    link: RedisConnection
    store: Redis

    def worker(self, link: Any, pool: Pool) -> WorkerQueue:
        return WorkerQueue(link, WorkerIdentity("bench", "gpu", (), ()), pool.subscriptions(), budgets=pool.budgets)

    async def begin(self, queues: int, open_breakers: int, jobs: int, batch_jobs: int = 0) -> None:
        """An empty server with open breakers, jobs, and batch jobs that are kept waiting."""
        pool = Pool(queues)
        self.store.flushall()
        for target in pool.targets_to_open(open_breakers):
            await force_breaker(
                self.link, target, BreakerOverride(BreakerState.OPEN, "a benchmark", 3600), BreakerPolicy()
            )
        model = pool.filled_queue.split(".")[1]
        self.store.hset("of:card-admitted:card", mapping={model: 2, "other": 2, "third": 2})
        await self._accept(pool.filled_queue, jobs)
        await self._accept(pool.subscriptions()[-1].queue, batch_jobs)
        self.store.slowlog_reset()

    async def _accept(self, queue: str, count: int) -> None:
        store, terms = (
            JobStore(self.link),
            SubmitTerms(queue=queue, expires_after_seconds=600, keep_seconds=60, bound="9 9 0 1 0 0 - -"),
        )
        body = {"messages": [{"role": "user", "content": "hello"}]}
        ids = (f"{queue.rpartition('.')[2]}-{n:08}" for n in range(count))
        jobs = (CompletionJob(id=name, producer="b", chain=("model-0",), body=body) for name in ids)
        await store.accept_many((job, terms) for job in jobs)

    def durations(self) -> list[int]:
        rows = self.store.slowlog_get(BATCH_SIZE * 4)
        return [row["duration"] for row in rows if row["command"].startswith(b"FCALL")]

    async def claims(self, worker: WorkerQueue) -> list[int]:
        for _ in range(BATCH_SIZE):
            if not (await worker.claim(1, 0)).deliveries:
                raise BenchmarkError("a claim returned no job")
        return self.durations()

    async def settles(self, worker: WorkerQueue, kind: str) -> list[int]:
        deliveries = [(await worker.claim(1, 0)).deliveries[0] for _ in range(BATCH_SIZE)]
        self.store.slowlog_reset()
        for n, delivery in enumerate(deliveries):
            ending = DeliveryOutcome(
                next_step=Result(id=delivery.id, status=Status.CANCELLED), call=_call(kind, n, delivery)
            )
            job = CompletionJob(
                id=delivery.id, producer="b", chain=("model-0",), body={}, role="dialogue", group="family"
            )
            await worker.settle(worker.settlement(delivery, ending.counted(job, delivery.model)))
        return self.durations()


def _call(kind: str, number: int, delivery: Delivery) -> CallReport | None:
    """The report of a call. Of `FAILING` every third fails: each sums up the window, and none opens a breaker."""
    if kind == NO_CALL:
        return None
    failed = kind == FAILING and number % 3 == 0
    attempt = Attempt(
        model=delivery.model, backend=delivery.backend, started_at=1, ended_at=2, input_tokens=9, output_tokens=9,
        error=ErrorClass.TIMEOUT if failed else None,
    )  # fmt: skip
    return CallReport(
        attempt=attempt, group=None, signal=CallSignal.FAILURE if failed else CallSignal.OK, epoch=delivery.epoch,
        credential="0a1b", credential_signal=CredentialSignal.FINE, credential_epoch=delivery.credential_epoch,
        cooldown_seconds=0.0, jitter=0.5,
    )  # fmt: skip


NO_CALL, WELL, FAILING = "no call was made", "the call went well", "every third failed"


async def measure(link: RedisConnection, store: Redis, turns: int, console: Console) -> list[Sheet]:
    """All variants in turns: claims for each number of queues, and settles."""
    bench, bare = Bench(link, store), BareLink(link)
    await link.command("FUNCTION", "LOAD", "REPLACE", bare.library)
    await link.load("accept", "claim", "settle", "breaker_force")
    store.config_set("slowlog-log-slower-than", 0)
    store.config_set("slowlog-max-len", BATCH_SIZE * 4)
    claims = {(queues, name): Measured([]) for queues in QUEUES for name in VARIANTS}
    settles = {kind: Measured([]) for kind in (NO_CALL, WELL, FAILING)}
    for turn in range(turns):
        console.print(f"[dim]turn {turn + 1}/{turns}[/dim]", highlight=False)
        for (queues, name), measured in claims.items():
            keys, rates = ("4e5f", "6a7b") if name == THREE_KEYS else (), RATES if name == LIMITS else ()
            budgets = THREE_BUDGETS if name == BUDGETS else ()
            pool = Pool(queues, name != NO_SHARES, keys, rates, budgets, name == CARDS)
            worker = bench.worker(bare if name == NO_BREAKERS else link, pool)
            await bench.begin(queues, OPEN_BREAKERS.get(name, 0), BATCH_SIZE, BATCH_SIZE if name == BATCH_WAITS else 0)
            measured.turns.append(await bench.claims(worker))
        for kind, measured in settles.items():
            worker = bench.worker(link, Pool(QUEUES[0]))
            await bench.begin(QUEUES[0], 0, BATCH_SIZE)
            measured.turns.append(await bench.settles(worker, kind))
    return [
        *(
            Sheet(f"A claim of one job, {queues} queues", COLUMNS,
                  [claims[queues, name].row(name) for name in VARIANTS], "usec", NO_BREAKERS)
            for queues in QUEUES
        ),
        Sheet("A settle", COLUMNS, [settles[kind].row(kind) for kind in settles], "usec", NO_CALL),
    ]  # fmt: skip


def compare(quick: bool, console: Console) -> list[Sheet]:
    """Everything on a server of its own."""

    async def run(url: str, store: Redis) -> list[Sheet]:
        async with RedisConnection(url) as link:
            return await measure(link, store, TURNS // 8 if quick else TURNS, console)

    with valkey() as server:
        return asyncio.run(run(server.url, server.client))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="A few turns.")
def main(as_json: bool, quick: bool) -> None:
    """Compare claims and settles with and without breakers and shares."""
    show(compare(quick, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
