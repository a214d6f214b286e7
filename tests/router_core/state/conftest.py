"""A fleet on a real Valkey whose clock the test moves, and a reader of Redis that uses none of our code."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import redis
import uvloop

from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.jobs import JobStore, Receipt, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.worker_queue import SettleReply, WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass

QUEUE = "gpu.smol.background"
SECRET = "the-private-prompt"
ANSWER = "the-private-answer"


def _begin() -> float:
    """The time of this machine, and from 22:00 UTC on 22:00, so that a story of two hours has one day of budgets."""
    now = int(time.time())
    return float(min(now, now // 86_400 * 86_400 + 22 * 3600))


@dataclass
class Clock:
    """The time of scripts, in epoch seconds; tests move it."""

    now: float = field(default_factory=_begin)

    def __call__(self) -> float:
        return self.now


def call_report(attempt: Attempt, delivery: Delivery, **more: Any) -> CallReport:
    """The report of a call for the breakers and the ledger."""
    disposition = attempt.disposition
    fields: dict[str, Any] = {
        "attempt": attempt, "group": None, "signal": disposition.breaker if disposition else CallSignal.OK,
        "epoch": delivery.epoch, "credential": "", "credential_signal": CredentialSignal.FINE,
        "credential_epoch": delivery.credential_epoch, "cooldown_seconds": 0.0, "jitter": 0.5,
    }  # fmt: skip
    return CallReport(**{**fields, **more})


class Fleet:
    """A producer, workers, and a reader of what is in Redis."""

    call_report = staticmethod(call_report)

    def __init__(self, url: str, link: RedisConnection, clock: Clock, store: redis.Redis) -> None:
        self.url, self.link, self.clock, self.store = url, link, clock, store
        self.job_store = JobStore(link)
        self.queue = QUEUE
        self.numbers = count(1)
        self.log = ""
        """Where the logs of the workers are that it registers."""

    def job(self, job_id: str = "job-00001", **more: Any) -> CompletionJob:
        body = more.pop("body", {"messages": [{"role": "user", "content": SECRET}]})
        return CompletionJob(
            id=job_id, producer=more.pop("producer", "tests"), chain=("smol", "large"), body=body, **more
        )

    async def accept(self, job_id: str = "job-00001", **terms: Any) -> Receipt:
        job = self.job(job_id, **terms.pop("job", {}))
        return await self.job_store.accept(
            job, SubmitTerms(**{"queue": QUEUE, "expires_after_seconds": 600, "keep_seconds": 900, **terms})
        )

    async def worker(
        self, name: str = "worker-a", slots: int = 4, queues: tuple[str, ...] = (QUEUE,), backend: str = "box"
    ) -> WorkerQueue:
        """A registered worker of pool gpu that has beaten once."""
        await register(self.link, WorkerIdentity(name, "gpu", queues, (backend,), log=self.log))
        drained = [QueueSubscription(queue, (BackendCapacity(backend, slots),)) for queue in queues]
        worker = WorkerQueue(self.link, WorkerIdentity(name, "gpu", queues, (backend,)), drained)
        await worker.beat([])
        return worker

    async def claim(self, worker: WorkerQueue, want: int = 1) -> Delivery:
        """The one delivery of a claim."""
        (delivery,) = (await worker.claim(want, 0)).deliveries
        return delivery

    def attempt(self, delivery: Delivery, error: ErrorClass | None = None, detail: str = "") -> Attempt:
        now = self.clock.now
        return Attempt(
            model=delivery.model, backend=delivery.backend, started_at=now, ended_at=now, error=error, detail=detail
        )

    def answered(self, delivery: Delivery) -> Result:
        body = {"choices": [{"message": {"role": "assistant", "content": ANSWER}}]}
        attempts = (self.attempt(delivery),)
        return Result(id=delivery.id, status=Status.ANSWERED, attempts=attempts, body=body, finish_reason="stop")

    def failed(self, delivery: Delivery, detail: str = "unknown field 'messagse'") -> Result:
        attempts = (self.attempt(delivery, ErrorClass.BAD_REQUEST, detail),)
        return Result(
            id=delivery.id, status=Status.FAILED, attempts=attempts, error=ErrorClass.BAD_REQUEST, detail=detail
        )

    async def settle(self, worker: WorkerQueue, delivery: Delivery, next_: Any = "answer", to: str = QUEUE) -> str:
        if next_ == "answer":
            next_ = self.answered(delivery)
        attempt = (
            result.attempts[-1] if isinstance(result := next_, Result) else self.attempt(delivery, ErrorClass.TIMEOUT)
        )
        call = None if next_ is None else call_report(attempt, delivery)
        return (
            await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=next_, call=call, to_queue=to)))
        ).outcome

    async def degrade(self, landing: Any = None, fall: bytes = b"", reply: Result | None = None) -> Delivery:
        """A degrade worker settles the first fallen job: it is held for its reason, or settled by `landing`."""
        degrade = await self.start_worker("degrader", QueueSubscription("degrade", (BackendCapacity("degrade", 8),)))
        delivery = await self.claim(degrade)
        assert delivery.fall is not None
        landing = landing or Hold(reason=delivery.fall.reason, detail=delivery.fall.detail, models=("smol",))
        ending = DeliveryOutcome(next_step=landing, fall_record=fall, interim_reply=reply, to_queue=QUEUE)
        assert (await degrade.settle(degrade.settlement(delivery, ending))).outcome == "settled"
        return delivery

    async def start_worker(
        self, name: str, *drained: QueueSubscription, local: bool = True, **more: Any
    ) -> WorkerQueue:
        """A registered worker that has beaten once, of the pool that its first queue names."""
        queues = tuple(queue.queue for queue in drained)
        backends = tuple(capacity.name for queue in drained for capacity in queue.backends)
        identity = WorkerIdentity(name, queues[0].split(".")[0], queues, backends, local)
        await register(self.link, identity)
        worker = WorkerQueue(self.link, identity, drained, **more)
        await worker.beat([])
        return worker

    async def enqueue(self, count: int, queue: str = QUEUE, **job: Any) -> list[str]:
        """Accept `count` more jobs in a queue; their ids."""
        ids = [f"{queue.replace('.', '-')}-{next(self.numbers):05}" for _ in range(count)]
        await asyncio.gather(*(  # in this order, many in a batch of commands
            self.accept(job_id, queue=queue, expires_after_seconds=86400, job=dict(job)) for job_id in ids
        ))  # fmt: skip
        return ids

    async def finish_call(self, worker: WorkerQueue, delivery: Delivery, mark: CallSignal, **call: Any) -> SettleReply:
        """The call of a delivery ends with a signal, and its job fails for good."""
        attempt = call.pop("attempt", None) or self.attempt(delivery, ErrorClass.TIMEOUT)
        report = call_report(attempt, delivery, signal=mark, **call)
        return await worker.settle(
            worker.settlement(delivery, DeliveryOutcome(next_step=self.failed(delivery), call=report))
        )

    async def finish_calls(self, worker: WorkerQueue, *marks: CallSignal, **call: Any) -> list[SettleReply]:
        """Calls one after another, each of a job that waits in a queue of the worker."""
        return [await self.finish_call(worker, await self.claim(worker), mark, **call) for mark in marks]

    async def crash(self, name: str, worker: WorkerQueue) -> None:
        """Time passes: this worker is silent, and another one beats."""
        onlooker = WorkerQueue(self.link, WorkerIdentity("onlooker", "gpu", (), ()), [])
        for _ in range(6):
            self.clock.now += 2
            await onlooker.beat([])

    async def pass_time(self, seconds: float, *alive: tuple[WorkerQueue, tuple[Delivery, ...]]) -> None:
        """Time passes; the workers named beat for the deliveries given, as the fleet does."""
        onlooker = WorkerQueue(self.link, WorkerIdentity("onlooker", "gpu", (), ()), [])
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + 2)
            await onlooker.beat([])
            for worker, in_flight in alive:
                await worker.beat(in_flight)

    def rq_field(self, job_id: str, name: str) -> str | None:
        """A field of rq's record of a job."""
        value = self.store.hget("rq:job:" + job_id, name)
        return None if value is None else value.decode()

    def record_field(self, job_id: str, name: str) -> str | None:
        value = self.store.hget("of:job:" + job_id, name)
        return None if value is None else value.decode()

    def counter(self, name: str) -> int:
        return int(self.store.hget("of:counters", name) or 0)

    def ended(self, outcome: str) -> int:
        """How many jobs were counted with an outcome."""
        counts = self.store.hgetall("of:job-counts").items()
        return sum(int(n) for name, n in counts if name.decode().split(" ")[4:5] == [outcome])

    def events(self, job_id: str) -> list[dict[str, Any]]:
        return [json.loads(row) for row in self.store.lrange("of:events:" + job_id, 0, -1)]

    def rq_places(self, job_id: str) -> list[tuple[str, str]]:
        """Every place in which rq's tools would find a job: (kind, queue)."""
        places = []
        for key in sorted(self.store.scan_iter("rq:*", count=1000)):
            _, kind, *rest = key.decode().split(":")
            if kind == "queue":
                places += [(kind, ":".join(rest))] * self.store.lrange(key, 0, -1).count(job_id.encode())
            elif kind in ("wip", "finished", "failed", "canceled", "scheduled", "deferred") and rest:
                members = [member.decode().split(":")[0] for member in self.store.zrange(key, 0, -1)]
                places += [(kind, ":".join(rest))] * members.count(job_id)
        return places

    def dump(self) -> dict[bytes, Any]:
        """All of Redis: every key with its value and whether it will expire."""
        return {key: (self.store.dump(key), self.store.ttl(key) > 0) for key in self.store.keys("*")}


Story = Callable[[Fleet], Awaitable[None]]


@pytest.fixture
def store(redis_url: str, shared_client: redis.Redis) -> redis.Redis:
    return shared_client


async def _tell(story: Story, url: str, store: redis.Redis) -> None:
    clock = Clock()
    async with RedisConnection(url, clock=clock) as link:
        await story(Fleet(url, link, clock, store))


@pytest.fixture
def fleet(redis_url: str, store: redis.Redis) -> Callable[[Story], None]:
    """Runs a story: `fleet(story)` awaits `story(Fleet)` with the clock in the test's hands, in the event loop that
    workers have."""
    return lambda story: uvloop.run(_tell(story, redis_url, store))


@pytest.fixture
def own_fleet(server: Any) -> Iterator[Callable[[Story], None]]:
    """The same on a server of the test's own, which it may kill."""
    with redis.Redis.from_url(server.url) as store:
        yield lambda story: uvloop.run(_tell(story, server.url, store))
