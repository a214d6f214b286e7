"""The Python client: put jobs in, wait for them, follow them, end them."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack

from openfall.config import LoadedConfig, load
from openfall.config import redis_url as redis_url_of
from openfall.producers.callbacks import inbox_name
from openfall.producers.errors import BadRequest, NotFinished, ProducerError
from openfall.producers.fleet_cache import FleetCache
from openfall.producers.inbox import InboxDelivery, delivered
from openfall.producers.job_stream import follow, wait_result
from openfall.producers.prompt import Prompt
from openfall.producers.request import (
    FleetView,
    PreparedJob,
    SubmitOptions,
    duration,
    prepare,
)
from openfall.producers.runtime import (
    CallOutcome,
    ResolveOptions,
    RuntimeModel,
    find,
    tell,
)
from openfall.producers.submit import (
    PATIENCE,
    WAITING,
    Errors,
    Prepared,
    Refused,
    retry,
    submit_with_retry,
)
from openfall.router_core.catalog.entries import UnknownName
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.errors import Backpressure, StoreUnreachable
from openfall.router_core.state.inbox import InboxReader
from openfall.router_core.state.job_events import EventHub
from openfall.router_core.state.jobs import JobRecord, JobStore, Receipt
from openfall.router_core.state.redis_connection import RedisConnection

BULK = 500
"""Jobs offered at once by `submit_many`."""
AFTER_DEADLINE = 15.0
"""Seconds past a job's deadline for which its end is still awaited: somebody must find that it has expired."""

T = TypeVar("T")


def producer_name() -> str:
    """`user@host`: the same for every process of one user on one machine, so that idempotency keys meet."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:128]


class AsyncOpenfall:
    """Asks for completions through the queue. One connection, opened when first needed; not for two event loops.

    `config` is a file, or a configuration that is loaded already; without it the usual search applies. `redis_url` wins
    over the configuration's. Use it as a context manager, or call `close()`.
    Raises `config.ConfigError`, and `config.NoRedis` when there is no address of a Redis.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        config: Path | str | LoadedConfig | None = None,
        producer: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        loaded = config if isinstance(config, LoadedConfig) else load(None if config is None else Path(config))
        self.loaded = loaded
        self.redis_url = redis_url or redis_url_of(loaded.settings)
        self.producer = producer or producer_name()
        self.patience = patience
        self._link: RedisConnection | None = None
        self._news: EventHub | None = None
        self.sight = FleetCache(loaded.catalog)

    async def __aenter__(self) -> AsyncOpenfall:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Jobs that were put in go on."""
        news, self._news = self._news, None
        link, self._link = self._link, None
        if news is not None:
            await news.close()
        if link is not None:
            await link.close()

    @property
    def link(self) -> RedisConnection:
        """The connection that everything here goes over."""
        if self._link is None:
            self._link = RedisConnection(self.redis_url)
        return self._link

    @property
    def intake(self) -> JobStore:
        return JobStore(self.link)

    @property
    def news(self) -> EventHub:
        """The one subscription that all waits share."""
        if self._news is None:
            self._news = EventHub(self.redis_url)
        return self._news

    async def ping(self) -> None:
        """Return when Redis answers; a `StoreError` at once when it does not."""
        await self.link.command("PING")

    async def seen(self) -> FleetView:
        """What is so in the fleet: what routes are chosen by."""
        return await self.sight.look(self.link)

    async def submit(self, prompt: Prompt, **options: Unpack[SubmitOptions]) -> Receipt:
        """Put one job in. Returns after it is written down.

        While Redis does not answer the same job is offered again, for `patience` seconds, then `StoreUnreachable`.
        When nothing more is taken in, a `Backpressure` says at once after how many seconds to try again.
        Raises `BadRequest`, `PromptTooLarge`, `UnknownName`, `DeadlinePassed`, `IdempotencyConflict`, `StoreError`.
        """
        job, terms = prepare(self.loaded, self.producer, PreparedJob(prompt, options), await self.seen())
        return await self._insist(lambda: self.intake.accept(job, terms))

    async def submit_many(self, asks: Iterable[PreparedJob | Prompt]) -> list[Receipt | Refused]:
        """Put many jobs in. Each is written or refused by itself: the answers are in the order of the requests.

        While a queue is full its jobs are offered again, for `patience` seconds. When that is over, those behind them
        are offered once: what is refused with `Backpressure` may be put in later.
        """
        answers: list[Receipt | Refused] = []
        bears: Errors = WAITING
        chunk: list[Prepared | Refused] = []
        for ask in asks:
            chunk.append(self._prepared(ask if isinstance(ask, PreparedJob) else PreparedJob(ask), await self.seen()))
            if len(chunk) == BULK:
                answers += await self.offer(chunk, bears)
                chunk = []
                bears = (StoreUnreachable,) if isinstance(answers[-1], Backpressure) else bears
        return answers + await self.offer(chunk, bears)

    async def offer(self, chunk: Sequence[Prepared | Refused], bears: Errors = WAITING) -> list[Receipt | Refused]:
        """Put prepared jobs in, with this client's patience: see `offering.offer`."""
        return await submit_with_retry(self.intake, chunk, bears, self.patience)

    async def ask(self, prompt: Prompt, *, wait: float | str | None = None, **options: Unpack[SubmitOptions]) -> Result:
        """Put one job in and wait for its result, at most `wait` (seconds or words), else until it must have ended.

        When nothing can answer an interactive one now, it is held, and its degraded result comes at once (`final` is
        False): show that, and `wait(job, final=True)` for the answer, or read it from an inbox.
        Raises what `submit` raises, and `StillQueued` when the wait is over: the job goes on.
        """
        limit = None if wait is None else duration(wait)
        job = await self.submit(prompt, **options)
        if limit is None:
            limit = max(0.0, job.deadline - await self._server_time()) + AFTER_DEADLINE
        return await self.wait(job, limit)

    async def wait(
        self,
        job: Receipt | str,
        timeout: float | str | None = None,  # noqa: ASYNC109
        *,
        final: bool | None = None,
    ) -> Result:
        """The result of a job, as soon as there is one. Bears outages of Redis.

        A job that nothing can serve now is held, and goes on by itself. With `final` its one terminal result is waited
        for; without (False) what is replied meanwhile will do; None: that will do for an interactive job only.
        Raises `StillQueued` after `timeout` (seconds or words; None: never), `UnknownJob` when there is no such job.
        """
        job_id = _id(job)
        try:
            async with asyncio.timeout(None if timeout is None else duration(timeout)):
                return await wait_result(self.link, self.news, job_id, final)
        except TimeoutError:
            raise NotFinished(job_id) from None

    async def stream(
        self, job: Receipt | str, *, start: int = 0, watch: bool = True
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What happens to a job, from the cursor `start` on, until its result. Bears outages of Redis.

        Each event has `event` (queued, scheduled, started, delta, reset, fallen, degraded, held, done) and `cursor`,
        which continues behind it. A `delta` has `text`; a `reset` takes back all deltas before it; `queued` comes
        again, with the same cursor, when `position` changes; a `degraded` has the `text` that is replied meanwhile, if
        any; `done` has the whole `result`. With `watch` the answer is told in pieces even if the job was put in without
        `stream`, unless it has begun already.
        """
        job_id = _id(job)
        if watch:
            await self._insist(lambda: self.intake.request_stream(job_id))
        async with aclosing(follow(self.link, self.news, job_id, start)) as events:
            async for event in events:
                yield event

    def inbox(self, name: str, *, reader: str | None = None) -> AsyncGenerator[InboxDelivery[Awaitable[None]], None]:
        """What comes of the jobs that were put in with `inbox=name`, until it is acknowledged: `await d.ack()`.

        What was given before and not acknowledged is given again first, after a restart too. Several programs share an
        inbox: each is a `reader` of its own name (default: this producer), each entry goes to one of them, and what one
        has that is silent for 60 s goes to another. Bears outages of Redis. Raises `BadRequest` for a bad name.
        """
        reading = InboxReader(self.link, inbox_name(name), reader or self.producer)
        return delivered(reading, self.link, name)

    async def result(self, job_id: str) -> Result | None:
        """The result of a job, or None while it has none; `UnknownJob` when there is no such job."""
        return await self.intake.result(_id(job_id))

    async def record(self, job_id: str) -> JobRecord:
        """All that is known of a job; `UnknownJob` when there is no such job."""
        return await self.intake.record(_id(job_id))

    async def position(self, job_id: str) -> int | None:
        """The place of a job in its queue, from 1; None when it does not wait there."""
        return await self.intake.position(_id(job_id))

    async def cancel(self, job_id: str) -> bool:
        """End a job that has no result yet. False: it had one."""
        return await self._insist(lambda: self.intake.cancel(_id(job_id)))

    async def resolve(self, role: str | None = None, **wishes: Unpack[ResolveOptions]) -> RuntimeModel:
        """The model to call now, for a program that calls models by itself; tell `report` what came of it.

        Without Redis the catalog alone decides. Raises `NoModel` with the reason of each model, `UnknownName`.
        """
        return await find(self.loaded, self.link, role, wishes)

    async def report(self, called: RuntimeModel, **came: Unpack[CallOutcome]) -> bool:
        """Tell the breakers and the ledger what came of such a call. False: nobody could be told."""
        return await tell(self.loaded, self.link, called, came)

    def _prepared(self, ask: PreparedJob, seen: FleetView) -> Prepared | Refused:
        try:
            return prepare(self.loaded, self.producer, ask, seen)
        except (ProducerError, UnknownName) as error:
            return error

    async def _server_time(self) -> float:
        seconds, micros = await self._insist(lambda: self.link.command("TIME"))
        return int(seconds) + int(micros) / 1e6

    async def _insist(self, step: Callable[[], Awaitable[T]]) -> T:
        return await retry(step, self.patience)


def _id(job: Receipt | str) -> str:
    job_id = job.id if isinstance(job, Receipt) else job
    if not job_id:
        raise BadRequest("the job id is empty")
    return job_id
