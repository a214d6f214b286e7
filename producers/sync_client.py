"""The client for code without an event loop: a thin portal to `AsyncOpenfall`, which runs in a thread of its own."""

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
from openfall.producers.inbox import InboxDelivery
from openfall.producers.prompt import Prompt
from openfall.producers.request import PreparedJob, SubmitOptions
from openfall.producers.runtime import CallOutcome, ResolveOptions, RuntimeModel
from openfall.producers.submit import Refused
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.jobs import JobRecord, Receipt

T = TypeVar("T")


class Openfall:
    """`AsyncOpenfall` with the same methods, blocking. May be used from several threads at once."""

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        config: Path | str | LoadedConfig | None = None,
        producer: str | None = None,
    ) -> None:
        self._client = AsyncOpenfall(redis_url, config=config, producer=producer)
        self._opening: AbstractContextManager[BlockingPortal] = start_blocking_portal(name="openfall")
        self._portal: BlockingPortal | None = self._opening.__enter__()
        atexit.register(self.close)

    def __enter__(self) -> Openfall:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread. Jobs that were put in go on."""
        portal, self._portal = self._portal, None
        if portal is not None:
            atexit.unregister(self.close)
            portal.call(self._client.close)
            self._opening.__exit__(None, None, None)

    def submit(self, prompt: Prompt, **options: Unpack[SubmitOptions]) -> Receipt:
        return self._call(partial(self._client.submit, prompt, **options))

    def submit_many(self, asks: Iterable[PreparedJob | Prompt]) -> list[Receipt | Refused]:
        return self._call(partial(self._client.submit_many, asks))

    def ask(self, prompt: Prompt, *, wait: float | str | None = None, **options: Unpack[SubmitOptions]) -> Result:
        return self._call(partial(self._client.ask, prompt, wait=wait, **options))

    def wait(self, job: Receipt | str, timeout: float | str | None = None, *, final: bool | None = None) -> Result:
        return self._call(partial(self._client.wait, job, timeout, final=final))

    def stream(self, job: Receipt | str, *, start: int = 0, watch: bool = True) -> Iterator[dict[str, Any]]:
        """The events of a job. Leaving the loop early is fine: the job goes on."""
        events = self._client.stream(job, start=start, watch=watch)
        try:
            while (event := self._call(partial(anext, events, None))) is not None:
                yield event
        finally:
            self._call(events.aclose)

    def inbox(self, name: str, *, reader: str | None = None) -> Iterator[InboxDelivery[None]]:
        """What comes of jobs, until `d.ack()`. Leaving the loop early is fine: what is not acknowledged comes again."""
        entries = self._call(partial(_begun, self._client, name, reader))
        try:
            while (found := self._call(partial(anext, entries, None))) is not None:
                yield replace(found, ack=partial(self._call, found.ack))
        finally:
            self._call(entries.aclose)

    def result(self, job_id: str) -> Result | None:
        return self._call(partial(self._client.result, job_id))

    def record(self, job_id: str) -> JobRecord:
        return self._call(partial(self._client.record, job_id))

    def position(self, job_id: str) -> int | None:
        return self._call(partial(self._client.position, job_id))

    def cancel(self, job_id: str) -> bool:
        return self._call(partial(self._client.cancel, job_id))

    @property
    def loaded(self) -> LoadedConfig:
        return self._client.loaded

    @property
    def redis_url(self) -> str:
        return self._client.redis_url

    def resolve(self, role: str | None = None, **wishes: Unpack[ResolveOptions]) -> RuntimeModel:
        found = self._call(partial(self._client.resolve, role, **wishes))
        return replace(found, teller=lambda called, came: self.report(called, **came))

    def report(self, called: RuntimeModel, **came: Unpack[CallOutcome]) -> bool:
        return self._call(partial(self._client.report, called, **came))

    def ping(self) -> None:
        self._call(self._client.ping)

    def _call(self, step: Callable[[], Awaitable[T]]) -> T:
        if self._portal is None:
            raise RuntimeError("this Openfall is closed: make a new one")
        return self._portal.call(step)


async def _begun(
    client: AsyncOpenfall, name: str, reader: str | None
) -> AsyncGenerator[InboxDelivery[Awaitable[None]], None]:
    return client.inbox(name, reader=reader)  # a connection is made where the event loop is
