"""The cost of turns among producers: server time of an accept and of a claim, with one producer and with many.

Every duration is Valkey's own (INFO commandstats). `without turns` are the same scripts, but for the part that counts
jobs by producer: a queue is one list for all. The variants alternate on one server, so that noise hits all of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from redis import Redis

from benchmarks.processes import BenchmarkError
from benchmarks.server import valkey
from benchmarks.table import Figure, Row, Sheet, figure
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state import keys, scripts
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection, pack_arguments
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity

ONE_LIST, ONE, TWO, MANY = "without turns, one producer", "one producer", "two producers", "each job another producer"
VARIANTS = (ONE_LIST, ONE, TWO, MANY)
CALLS = 10
"""Calls of a variant in one round."""
COLUMNS = {"usec": "server µs", "more": "µs more"}
CLAIM_SIZES = (1, 8)
MAIN = "local function main(_, ARGV)\n"
WITHOUT_TURNS = """
count_waiting = function(queue) local n = redis.call('LLEN', RQ_QUEUE .. queue) return {own = n, all = n} end
add_waiting = function(id, queue) redis.call('RPUSH', RQ_QUEUE .. queue, id) end
note_left = function() return 0, 0 end
"""


class OneListLink:
    """A connection whose accepts and claims know no producers: a queue is one list."""

    def __init__(self, link: RedisConnection) -> None:
        self._link, self.server = link, link.server
        self.notes = link.notes
        self._functions: dict[str, str] = {}

    async def load(self, *names: str) -> None:
        for name in names:
            script = scripts.load(name)
            text = script.library.decode()
            if text.count(MAIN) != 1:
                raise BenchmarkError(f"{name}.lua has changed: {MAIN!r} is not once in it")
            text = text.replace(MAIN, keys.with_key_names(WITHOUT_TURNS) + MAIN)
            self._functions[name] = f"{script.function}_one_list"
            await self._link.command(
                "FUNCTION", "LOAD", "REPLACE", text.replace(script.function, self._functions[name])
            )

    async def script(self, name: str, arguments: Any, *bodies: Any) -> Any:
        return await self._link.command("FCALL", self._functions[name], 0, "", pack_arguments(arguments), *bodies)

    async def confirmed_script(self, name: str, arguments: Any, *bodies: Any) -> tuple[Any, None]:
        return await self.script(name, arguments, *bodies), None


@dataclass(frozen=True)
class Variant:
    """One queue of the benchmark, and the producers of its jobs."""

    name: str
    link: Any

    @property
    def queue(self) -> str:
        return f"gpu.model-{VARIANTS.index(self.name)}.batch"

    def job(self, number: int, jobs: int) -> CompletionJob:
        producer = {TWO: ("a", "b")[2 * number // jobs], MANY: f"producer-{number}"}.get(self.name, "a")
        id_ = f"job-{VARIANTS.index(self.name)}-{number:08}"
        body = {"messages": [{"role": "user", "content": "hello"}]}
        return CompletionJob(id=id_, producer=producer, chain=("coder",), body=body)

    async def accept(self, *jobs: CompletionJob) -> None:
        terms = SubmitTerms(queue=self.queue, expires_after_seconds=600, keep_seconds=60, max_queued=1_000_000)
        for answer in await JobStore(self.link).accept_many((job, terms) for job in jobs):
            if isinstance(answer, BaseException):
                raise answer

    def worker(self) -> WorkerQueue:
        queues = [QueueSubscription(self.queue, (BackendCapacity("box", 1_000_000),))]
        return WorkerQueue(self.link, WorkerIdentity("bench", "gpu", (), ()), queues)


class ServerTime:
    """The server's time of scripts since the last reading, in µs of one call (INFO commandstats)."""

    def __init__(self, store: Redis) -> None:
        self._store = store
        self._calls, self._usec = self._read()

    def per_call(self) -> float:
        calls, usec = self._read()
        mean = (usec - self._usec) / (calls - self._calls)
        self._calls, self._usec = calls, usec
        return mean

    def _read(self) -> tuple[int, int]:
        stats = self._store.info("commandstats").get("cmdstat_fcall", {"calls": 0, "usec": 0})
        return stats["calls"], stats["usec"]


async def measure(variants: list[Variant], store: Redis, jobs: int, rounds: int) -> list[Sheet]:
    """Accepts, and claims of one and of eight jobs, with `jobs` waiting jobs in the queue of each variant."""
    first = jobs - rounds * CALLS
    for variant in variants:
        await variant.accept(*(variant.job(n, jobs) for n in range(first)))
    measured: dict[str, list[float]] = {name: [] for name in VARIANTS}
    time = ServerTime(store)
    for n in range(first, jobs, CALLS):
        for variant in variants:
            await variant.accept(*(variant.job(number, jobs) for number in range(n, n + CALLS)))
            measured[variant.name].append(time.per_call())
    waiting = f"{jobs:,} waiting jobs"
    sheets = [_sheet(f"An accept, {waiting}", measured)]
    workers = {variant.name: variant.worker() for variant in variants}
    for size in CLAIM_SIZES:
        measured = {name: [] for name in VARIANTS}
        for _ in range(rounds):
            for name, worker in workers.items():
                await _claim(worker, size)
                measured[name].append(time.per_call())
        title = f"A claim of {size} {'job' if size == 1 else 'jobs'}, {waiting}"
        sheets.append(_sheet(title, measured))
    return sheets


async def _claim(worker: WorkerQueue, size: int) -> None:
    for _ in range(CALLS):
        if len((await worker.claim(size, 0)).deliveries) != size:
            raise BenchmarkError("a claim returned fewer jobs than wait")


def _sheet(title: str, measured: dict[str, list[float]]) -> Sheet:
    """Each variant, and how much longer its calls took than those without turns in the same round (medians)."""
    rows = []
    for name, values in measured.items():
        more = median(value - without for value, without in zip(values, measured[ONE_LIST], strict=True))
        quartiles = quantiles(values)
        rows.append(Row(name, {"usec": Figure(quartiles[1], quartiles[0], quartiles[2], len(values)),
                               "more": figure([more])}))  # fmt: skip
    return Sheet(title, COLUMNS, rows, "usec", ONE_LIST, notes=("In brackets: the middle half of the rounds.",))


def compare(jobs: int, rounds: int) -> list[Sheet]:
    """Everything on a server of its own."""

    async def story(url: str, store: Redis) -> list[Sheet]:
        async with RedisConnection(url) as link:
            one_list = OneListLink(link)
            await one_list.load("accept", "claim")
            await link.load("accept", "claim")
            variants = [Variant(name, one_list if name == ONE_LIST else link) for name in VARIANTS]
            return await measure(variants, store, jobs, rounds)

    with valkey() as server:
        return asyncio.run(story(server.url, server.client))
