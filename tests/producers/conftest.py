"""A configuration, and a worker in a thread: real scripts and results, invented answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from openfall.config import LoadedConfig, load
from openfall.router_core.deciding.steps import Handoff
from openfall.router_core.jobs.envelope import unpack_attempts, unpack_job
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.stream_pieces import TextPiece, pack_events
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass

CONFIG = """
redis: ${REDIS_URL:-embedded}
pools: {gpu: {local: yes}}
backends:
  rack: {protocol: openai, url: "http://127.0.0.1:9", pool: gpu, slots: 64}
models:
  tiny: {upstream: tiny-1, backends: [rack]}
  other: {upstream: other-1, backends: [rack]}
roles:
  chat: {chain: [tiny, other], urgency: interactive}
  dialogue: {chain: [tiny, other]}
  tags: {chain: [other], urgency: batch}
limits: {max_prompt: 64k}
gateway: {listen: []}
"""


BEAT_INTERVAL_SECONDS = 0.2
"""A beat at every look for jobs would take more of a processor than the looks."""


def echo(job: CompletionJob) -> str | ErrorClass:
    """The prompt, or the error that it names: `fail: timeout`."""
    answer = str(job.body["messages"][-1]["content"])
    return ErrorClass(answer.removeprefix("fail: ")) if answer.startswith("fail: ") else f"echo {answer}"


def neutral_call(attempt: Attempt, delivery: Delivery) -> CallReport:
    """A call that no breaker counts."""
    return CallReport(
        attempt=attempt, group=None, signal=CallSignal.NEUTRAL, epoch=delivery.epoch, credential="",
        credential_signal=CredentialSignal.FINE, credential_epoch="0", cooldown_seconds=0.0, jitter=0.5,
    )  # fmt: skip


@dataclass
class FakeWorker:
    """Answers all queued jobs, or those of `models`, until it is stopped. `jobs` has them as they were delivered.

    With `hand_off` the model `tiny` is overloaded and the next model answers.
    """

    url: str
    loaded: LoadedConfig
    reply: Callable[[CompletionJob], str | ErrorClass] = echo
    name: str = "answering-worker"
    hand_off: bool = False
    models: tuple[str, ...] = ()
    jobs: list[CompletionJob] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _next_beat: float = 0.0

    def __enter__(self) -> FakeWorker:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name=self.name)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(60)

    async def _work(self) -> None:
        catalog = self.loaded.catalog
        queues = [f"gpu.{model}.{urgency}" for urgency in catalog.urgency for model in self.models or catalog.models]
        async with RedisConnection(self.url) as link:
            await register(link, WorkerIdentity(self.name, "gpu", (*queues, "degrade"), ("rack",)))
            drained = [QueueSubscription(queue, (BackendCapacity("rack", 64),)) for queue in queues]
            deliveries = WorkerQueue(link, WorkerIdentity(self.name, "gpu", (), ()), drained)
            await deliveries.beat([])
            self._ready.set()
            while not self._stop.is_set():
                try:
                    await self._turn(deliveries)
                except StoreUnreachable:
                    await asyncio.sleep(0.05)

    async def _turn(self, queue: WorkerQueue) -> None:
        claim = await queue.claim(16, 0)
        await asyncio.gather(*(self._answer(queue, delivery) for delivery in claim.deliveries))
        if claim.deliveries or time.monotonic() >= self._next_beat:
            await queue.beat([])
            self._next_beat = time.monotonic() + BEAT_INTERVAL_SECONDS
        if not claim.deliveries:
            await asyncio.sleep(0.02)

    async def _answer(self, queue: WorkerQueue, delivery: Delivery) -> None:
        job = unpack_job(delivery.envelope, delivery.deadline)
        self.jobs.append(job)
        answer = await asyncio.to_thread(self.reply, job)
        if self.hand_off and delivery.model == "tiny":
            answer = ErrorClass.OVERLOADED
        attempt = Attempt(
            model=delivery.model,
            backend=delivery.backend,
            started_at=delivery.server_now,
            ended_at=delivery.server_now + 0.1,
            error=answer if isinstance(answer, ErrorClass) else None,
            input_tokens=3,
            output_tokens=4,
        )
        attempts = (*unpack_attempts(delivery.attempts), attempt)
        if self.hand_off and delivery.model == "tiny":
            next_queue = self.loaded.catalog.queue("other", job.urgency)
            await queue.settle(
                queue.settlement(
                    delivery,
                    DeliveryOutcome(
                        next_step=Handoff("other", False), call=neutral_call(attempt, delivery), to_queue=next_queue
                    ),
                )
            )
            return
        if isinstance(answer, ErrorClass):
            result = Result(id=job.id, status=Status.FAILED, attempts=attempts, error=answer, detail="it was asked to")
        else:
            if job.stream or delivery.streamed:
                for batch, word in enumerate(answer.split(" "), start=1):
                    await queue.append_pieces(delivery, pack_events([TextPiece(0, f"{word} ")]), batch)
            choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
            body = {"object": "chat.completion", "choices": [choice]}
            result = Result(id=job.id, status=Status.ANSWERED, attempts=attempts, body=body, reason=job.reason)
        await queue.settle(
            queue.settlement(delivery, DeliveryOutcome(next_step=result, call=neutral_call(attempt, delivery)))
        )


@pytest.fixture
def config_text() -> str:
    """The configuration of the test. A module may have its own."""
    return CONFIG


@pytest.fixture
def config_file(tmp_path: Path, config_text: str) -> Path:
    path = tmp_path / "openfall.yaml"
    path.write_text(config_text)
    return path


@pytest.fixture
def loaded(config_file: Path, redis_url: str) -> LoadedConfig:
    return load(config_file, environ={"REDIS_URL": redis_url})


@pytest.fixture
def store(redis_url: str, shared_client: redis.Redis) -> redis.Redis:
    """A plain client of the test's Valkey."""
    return shared_client


@pytest.fixture
def answering(redis_url: str, loaded: LoadedConfig) -> Iterator[FakeWorker]:
    with FakeWorker(redis_url, loaded) as worker:
        yield worker


@pytest.fixture
def worker_for(redis_url: str, loaded: LoadedConfig) -> Callable[..., FakeWorker]:
    """Creates workers that the test starts and stops."""

    def make(**options: object) -> FakeWorker:
        return FakeWorker(redis_url, loaded, **options)  # type: ignore[arg-type]

    return make
