"""The client for asyncio programs: submit jobs, wait for results, stream events, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TypeVar, Unpack

from openfall.config import LoadedConfig, describe_source, load
from openfall.producers.arguments import (
    CONFIG,
    COUNT,
    NAME,
    PRODUCER,
    REDIS_URL,
    WAIT,
    check,
    check_job_id,
    check_many,
)
from openfall.producers.callbacks import check_inbox_name
from openfall.producers.client_store import ClientStore, ClientStores, find_redis, try_redis
from openfall.producers.embeddings_result import Embeddings, to_embeddings
from openfall.producers.errors import StillQueued
from openfall.producers.inbox_delivery import InboxDelivery, read_inbox
from openfall.producers.job_request import (
    AskOptions,
    JobRequest,
    PreparedJob,
    SubmitOptions,
    parse_duration,
    prepare,
)
from openfall.producers.job_stream import follow, wait_result
from openfall.producers.model_loading import ModelLoad, load_model
from openfall.producers.producer_name import producer_name
from openfall.producers.prompt import Prompt
from openfall.producers.runtime_model import CallOutcome, ResolveOptions, RuntimeModel, report_outcome, resolve_model
from openfall.producers.stream_event import StreamEvent, events_for_caller
from openfall.producers.submit_chunks import submit_chunks
from openfall.producers.submit_retries import RETRY_FOR_SECONDS, SubmitError, about_job, retry
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.errors import InvalidOperation
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.inbox import InboxReader
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.jobs import Receipt

EXPIRY_GRACE_SECONDS = 15.0
"""How long `ask` waits past a job's deadline: the sweeper needs time to expire the job."""

T = TypeVar("T")


class AsyncOpenfall:
    """Requests completions through the queue. Connects on first use, so it may be made before its fleet runs, and
    before a fork. Each event loop and process in which it is used has connections of its own.

    `config` is a path or a loaded configuration; None: the usual search applies. `redis_url` overrides the
    configuration's. `retry_for` is for how many seconds a call retries while Redis does not answer, or `openfall up`
    has not started it yet. Use it as a context manager, or call `close()`. `store` is internal.

    Raises `ConfigError`. Each call raises `ClientClosed` after `close`, and `NoRedis` (after `retry_for`) while neither
    argument nor configuration names a Redis.
    """

    def __init__(
        self,
        redis_url: RedisServer | str | None = None,
        *,
        config: Path | str | LoadedConfig | None = None,
        producer: str | None = None,
        retry_for: float = RETRY_FOR_SECONDS,
    ) -> None:
        check("redis_url", redis_url, REDIS_URL)
        check("config", config, CONFIG)
        check("producer", producer, PRODUCER)
        check("retry_for", retry_for, WAIT, required=True)
        loaded = config if isinstance(config, LoadedConfig) else load(None if config is None else Path(config))
        self.config = loaded
        self.producer = producer or producer_name()
        self.retry_for = retry_for
        find = partial(find_redis, redis_url, loaded.settings)
        self._stores = ClientStores(find, loaded.catalog, describe_source(loaded.source))

    @property
    def store(self) -> ClientStore:
        """The connections of the running event loop."""
        return self._stores.current()

    async def __aenter__(self) -> AsyncOpenfall:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __copy__(self) -> AsyncOpenfall:
        """A client with the same connections. The gateway gives it a changed configuration."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __reduce__(self) -> NoReturn:
        raise InvalidOperation("a client cannot be copied, or sent to another process: make one there")

    async def close(self) -> None:
        """Close the connections. Submitted jobs go on."""
        await self._stores.close()

    async def submit(self, prompt: Prompt, **options: Unpack[SubmitOptions]) -> Receipt:
        """Submit one job. Returns once Redis has stored it.

        While Redis does not answer, the client retries for `retry_for` seconds, then raises `StoreUnreachable`.
        `Backpressure` comes at once and says when to try again. `UnsuitableRedis` says what Redis
        lacks to keep jobs. Also raises `BadRequest`, `PromptTooLarge`,
        `UnknownName`, `DeadlinePassed`, `IdempotencyConflict`, `StoreError`.
        """
        return await self._accept(await self._prepare_one(prompt, options))

    async def submit_many(self, requests: Iterable[JobRequest | Prompt]) -> list[Receipt | SubmitError]:
        """Submit many jobs. Each is accepted or refused on its own; the list has one entry per request, in order.

        While a queue is full, its jobs are retried for `retry_for` seconds, later ones once each.
        """
        check_many(requests)
        prepare_one = partial(prepare, self.config, self.producer)
        chunks = submit_chunks(self.store, requests, prepare_one, self.retry_for)
        return [answer async for answers in chunks for answer in answers]

    async def ask(
        self,
        prompt: Prompt,
        *,
        timeout: float | str | None = None,  # noqa: ASYNC109
        **options: Unpack[SubmitOptions],
    ) -> Result:
        """Submit one job and wait for its result, for at most `timeout` (seconds, or text such as `5m`). None: until
        the job has ended or expired.

        When no model can answer an interactive job now, the job is held and its degraded result returns at once
        (`final` is False). Show that one. `wait(job, accept_interim=False)` or an inbox gives the final one.
        Raises what `submit` raises, and `StillQueued` (a `TimeoutError`) when the time is over: the job goes on.
        """
        seconds = None if timeout is None else parse_duration(timeout, "timeout")
        prepared = await self._prepare_one(prompt, options)
        job = await self._accept(prepared)
        connections = self.store.connection.connections
        if seconds is None:
            now = await self._retry(self.store.server_time)
            seconds = max(0.0, job.deadline - now) + EXPIRY_GRACE_SECONDS
        while True:
            try:
                return await self.wait(job, seconds)
            except UnknownJob:
                if connections == (connections := self.store.connection.connections):
                    raise
            await self._accept(prepared)  # a restart or a failover has lost the job: the same id goes in again

    async def embed(self, texts: Prompt, **options: Unpack[AskOptions]) -> Embeddings:
        """Submit texts for embeddings, and wait for their vectors as `ask` does. Raises `NoEmbeddings` too."""
        options["kind"] = "embedding"
        return to_embeddings(await self.ask(texts, **options))

    async def wait(
        self,
        job: Receipt | str,
        timeout: float | str | None = None,  # noqa: ASYNC109
        *,
        accept_interim: bool | None = None,
    ) -> Result:
        """Wait for the result of a job. Survives outages of Redis.

        A job that no model can serve is held until one can. True returns its interim reply; False waits for the final
        result; None accepts an interim reply for an interactive job only.
        Raises `StillQueued` (a `TimeoutError`) after `timeout` (seconds, or text such as `5m`; None: never),
        `UnknownJob`, and within seconds `LostJob` when Redis has lost the accepted job.
        """
        job_id = _job_id(job)
        try:
            async with asyncio.timeout(None if timeout is None else parse_duration(timeout, "timeout")):
                return await wait_result(self.store, job, accept_interim)
        except TimeoutError:
            redis_answers = await try_redis(self.store.server_time()) is not None
            raise StillQueued(job_id, redis_answers=redis_answers) from None

    async def stream(
        self,
        job: Receipt | str,
        *,
        cursor: int = 0,
        deltas: bool = True,
        pieces: bool = False,
        timeout: float | str | None = None,  # noqa: ASYNC109
    ) -> AsyncGenerator[StreamEvent, None]:
        """The events of a job after `cursor`, up to and including its result. Survives outages of Redis.

        `StreamEvent` has the fields of each event. `deltas` requests deltas even if the job was submitted without
        `stream`: from the start if no worker has begun it, and of a call in flight if its provider streams (that of an
        interactive job does). With `pieces` a `delta` also has `pieces`, and some have no text.
        A held job has no end in sight: `timeout` bounds the whole stream. Raises as `wait` does.
        """
        job_id = _job_id(job)
        check("cursor", cursor, COUNT, required=True)
        limit = None if timeout is None else parse_duration(timeout, "timeout")
        events = follow(self.store, job, cursor, self.config.catalog, requests_pieces=deltas)
        async with aclosing(events_for_caller(events, job_id, limit, pieces=pieces)) as shown:
            async for event in shown:
                yield event

    def inbox(self, name: str, *, reader: str | None = None) -> AsyncGenerator[InboxDelivery[Awaitable[None]], None]:
        """Results of the jobs submitted with `inbox=name`. Each repeats until `await delivery.ack()`.

        Unacknowledged deliveries come first, after a restart too. Programs that share an inbox take a `reader` name
        each (default: this producer): every delivery goes to one reader, and those of a reader silent for 60 s go to
        another. Survives outages of Redis. Raises `BadRequest` for an invalid name.
        """
        check("reader", reader, PRODUCER)
        return self._read_inbox(check_inbox_name(name), reader or self.producer)

    async def result(self, job_id: str) -> Result | None:
        """The final result of a job; None while there is none. Raises `UnknownJob`."""
        with about_job(job_id := _job_id(job_id)):
            return await self._retry(lambda: self.store.jobs.result(job_id))

    async def record(self, job_id: str) -> JobRecord:
        """The stored state of a job. Raises `UnknownJob`."""
        with about_job(job_id := _job_id(job_id)):
            return await self._retry(lambda: self.store.jobs.record(job_id))

    async def cancel(self, job_id: str) -> bool:
        """End a job. False: it had ended before."""
        with about_job(job_id := _job_id(job_id)):
            return await self._retry(lambda: self.store.jobs.cancel(job_id))

    async def load_model(self, model: str, *, backend: str | None = None) -> list[ModelLoad]:
        """Load a model into the memory of its backends, or of one of them, and wait for it. Raises `UnknownName`.

        A backend may unload other models to make room. Its host must be reachable from here.
        """
        check("model", model, NAME, required=True)
        check("backend", backend, NAME)
        return await load_model(self.config.catalog, self.store.try_connection(), model, backend)

    async def resolve(self, role: str | None = None, **options: Unpack[ResolveOptions]) -> RuntimeModel:
        """The model to call now, for a program that calls models itself. Give the outcome to `report`.

        Without Redis the catalog alone decides. Raises `NoModel`, which lists the reason for each model, and
        `UnknownName`.
        """
        return await resolve_model(self.config, self.store.try_connection(), role, options)

    async def report(self, model: RuntimeModel, **outcome: Unpack[CallOutcome]) -> bool:
        """Report the outcome of such a call to the breakers and the ledger. False: Redis did not take it."""
        return await report_outcome(self.config, self.store.try_connection(), model, outcome)

    async def _read_inbox(self, name: str, reader: str) -> AsyncGenerator[InboxDelivery[Awaitable[None]], None]:
        connection = await retry(self.store.connect, float("inf"))
        async with aclosing(read_inbox(InboxReader(connection, name, reader), connection, name)) as deliveries:
            async for delivery in deliveries:
                yield delivery

    async def _prepare_one(self, prompt: Prompt, options: SubmitOptions) -> PreparedJob:
        return prepare(self.config, self.producer, JobRequest(prompt, options), await self.store.fleet())

    async def _accept(self, prepared: PreparedJob) -> Receipt:
        with about_job(prepared[0].id):
            return await self._retry(lambda: self.store.jobs.accept(*prepared))

    async def _retry(self, step: Callable[[], Awaitable[T]]) -> T:
        return await retry(step, self.retry_for)


def _job_id(job: Receipt | str) -> str:
    return check_job_id(job.id if isinstance(job, Receipt) else job)
