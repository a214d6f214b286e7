"""The client for code without an event loop. Runs `AsyncOpenfall` in a thread of its own."""

from __future__ import annotations

import atexit
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from openfall.config import LoadedConfig
from openfall.producers.client import AsyncOpenfall
from openfall.producers.inbox_delivery import InboxDelivery
from openfall.producers.model_loading import ModelLoad
from openfall.producers.prompt import Prompt
from openfall.producers.request import JobRequest, SubmitOptions
from openfall.producers.runtime import CallOutcome, ResolveOptions, RuntimeModel
from openfall.producers.submit import RETRY_FOR_SECONDS, SubmitError
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.jobs import JobRecord, Receipt

T = TypeVar("T")


class Openfall:
    """`AsyncOpenfall` with the same methods, blocking. Several threads may share one."""

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        config: Path | str | LoadedConfig | None = None,
        producer: str | None = None,
        retry_for: float = RETRY_FOR_SECONDS,
    ) -> None:
        self._client = AsyncOpenfall(redis_url, config=config, producer=producer, retry_for=retry_for)
        self.config, self.redis_url = self._client.config, self._client.redis_url
        self._thread: AbstractContextManager[BlockingPortal] = start_blocking_portal(name="openfall")
        self._portal: BlockingPortal | None = self._thread.__enter__()
        atexit.register(self.close)

    def __enter__(self) -> Openfall:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread. Submitted jobs go on."""
        portal, self._portal = self._portal, None
        if portal is not None:
            atexit.unregister(self.close)
            portal.call(self._client.close)
            self._thread.__exit__(None, None, None)

    def submit(self, prompt: Prompt, **options: Unpack[SubmitOptions]) -> Receipt:
        return self._call(partial(self._client.submit, prompt, **options))

    def submit_many(self, requests: Iterable[JobRequest | Prompt]) -> list[Receipt | SubmitError]:
        return self._call(partial(self._client.submit_many, requests))

    def ask(self, prompt: Prompt, *, timeout: float | str | None = None, **options: Unpack[SubmitOptions]) -> Result:
        return self._call(partial(self._client.ask, prompt, timeout=timeout, **options))

    def wait(
        self, job: Receipt | str, timeout: float | str | None = None, *, accept_interim: bool | None = None
    ) -> Result:
        return self._call(partial(self._client.wait, job, timeout, accept_interim=accept_interim))

    def stream(
        self, job: Receipt | str, *, cursor: int = 0, deltas: bool = True, pieces: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The events of a job. Leaving the loop early is safe: the job goes on."""
        events = self._client.stream(job, cursor=cursor, deltas=deltas, pieces=pieces)
        try:
            while (event := self._call(partial(anext, events, None))) is not None:
                yield event
        finally:
            self._call(events.aclose)

    def inbox(self, name: str, *, reader: str | None = None) -> Iterator[InboxDelivery[None]]:
        """Results of jobs. Each repeats until `delivery.ack()`. Leaving the loop early is safe."""
        deliveries = self._call(partial(_open_inbox, self._client, name, reader))
        try:
            while (delivery := self._call(partial(anext, deliveries, None))) is not None:
                yield replace(delivery, ack=partial(self._call, delivery.ack))
        finally:
            self._call(deliveries.aclose)

    def result(self, job_id: str) -> Result | None:
        return self._call(partial(self._client.result, job_id))

    def record(self, job_id: str) -> JobRecord:
        return self._call(partial(self._client.record, job_id))

    def cancel(self, job_id: str) -> bool:
        return self._call(partial(self._client.cancel, job_id))

    def load_model(self, model: str, *, backend: str | None = None) -> list[ModelLoad]:
        return self._call(partial(self._client.load_model, model, backend=backend))

    def resolve(self, role: str | None = None, **options: Unpack[ResolveOptions]) -> RuntimeModel:
        model = self._call(partial(self._client.resolve, role, **options))
        return replace(model, reporter=lambda called, outcome: self.report(called, **outcome))

    def report(self, model: RuntimeModel, **outcome: Unpack[CallOutcome]) -> bool:
        return self._call(partial(self._client.report, model, **outcome))

    def _call(self, step: Callable[[], Awaitable[T]]) -> T:
        if self._portal is None:
            raise RuntimeError("this Openfall is closed: make a new one")
        return self._portal.call(step)


async def _open_inbox(
    client: AsyncOpenfall, name: str, reader: str | None
) -> AsyncGenerator[InboxDelivery[Awaitable[None]], None]:
    return client.inbox(name, reader=reader)  # a coroutine, so that the connection opens in the event loop's thread
