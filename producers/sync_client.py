"""The client for code without an event loop. Runs `AsyncOpenfall` in a thread of its own."""

from __future__ import annotations

import atexit
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar, Unpack
from weakref import ref

from openfall.config import LoadedConfig
from openfall.producers.client import AsyncOpenfall
from openfall.producers.embeddings_result import Embeddings
from openfall.producers.inbox_delivery import InboxDelivery
from openfall.producers.job_request import AskOptions, JobRequest, SubmitOptions
from openfall.producers.loop_thread import LoopThread, closed
from openfall.producers.model_loading import ModelLoad
from openfall.producers.prompt import Prompt
from openfall.producers.runtime_model import CallOutcome, ResolveOptions, RuntimeModel
from openfall.producers.stream_event import StreamEvent
from openfall.producers.submit_retries import RETRY_FOR_SECONDS, SubmitError
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.jobs import Receipt

T = TypeVar("T")


class Openfall:
    """`AsyncOpenfall` with the same methods, blocking. Several threads may share one.

    It ends with its last reference, with `close`, or with the program. It may be made before a fork: each process has a
    thread and connections of its own, from its first call on.
    """

    def __init__(
        self,
        redis_url: RedisServer | str | None = None,
        *,
        config: Path | str | LoadedConfig | None = None,
        producer: str | None = None,
        retry_for: float = RETRY_FOR_SECONDS,
    ) -> None:
        self._threads: dict[int, LoopThread] = {}
        """By process. Those of a parent process are kept, and left alone: it uses them."""
        self._closed = self._at_exit = False
        self._exit_step = partial(_close_at_exit, ref(self))
        self._client = AsyncOpenfall(redis_url, config=config, producer=producer, retry_for=retry_for)
        self.config = self._client.config
        atexit.register(self._exit_step)

    def __del__(self) -> None:
        """End the thread of a client that nothing refers to any more, and do not wait for it."""
        if not hasattr(self, "_exit_step"):  # an unknown argument
            return
        atexit.unregister(self._exit_step)
        if thread := self._threads.get(os.getpid()):
            thread.leave()

    def __enter__(self) -> Openfall:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        self._client.__reduce__()

    def close(self) -> None:
        """Close the connections and end the thread. Submitted jobs go on."""
        self._closed = True
        atexit.unregister(self._exit_step)
        if thread := self._threads.get(os.getpid()):
            thread.stop(at_exit=self._at_exit)

    def submit(self, prompt: Prompt, **options: Unpack[SubmitOptions]) -> Receipt:
        """Submit one job. Returns once Redis has stored it. Raises as `AsyncOpenfall.submit` does."""
        return self._call(partial(self._client.submit, prompt, **options))

    def submit_many(self, requests: Iterable[JobRequest | Prompt]) -> list[Receipt | SubmitError]:
        """Submit many jobs. The list has a receipt or an error for each request, in order."""
        return self._call(partial(self._client.submit_many, requests))

    def ask(self, prompt: Prompt, *, timeout: float | str | None = None, **options: Unpack[SubmitOptions]) -> Result:
        """Submit one job and wait for its result, for at most `timeout` (seconds, or text such as `5m`).

        Raises what `submit` raises, and `StillQueued` when the time is over: the job continues.
        """
        return self._call(partial(self._client.ask, prompt, timeout=timeout, **options))

    def embed(self, texts: Prompt, **options: Unpack[AskOptions]) -> Embeddings:
        """Submit texts for embeddings, and wait for their vectors. Raises `NoEmbeddings` too."""
        return self._call(partial(self._client.embed, texts, **options))

    def wait(
        self, job: Receipt | str, timeout: float | str | None = None, *, accept_interim: bool | None = None
    ) -> Result:
        """Wait for the result of a job. Raises `StillQueued` after `timeout`, `UnknownJob`."""
        return self._call(partial(self._client.wait, job, timeout, accept_interim=accept_interim))

    def stream(
        self,
        job: Receipt | str,
        *,
        cursor: int = 0,
        deltas: bool = True,
        pieces: bool = False,
        timeout: float | str | None = None,
    ) -> Iterator[StreamEvent]:
        """The events of a job; raises `StillQueued` after `timeout`. To leave the loop is safe: the job goes on."""
        events = self._client.stream(job, cursor=cursor, deltas=deltas, pieces=pieces, timeout=timeout)
        yield from self._thread().iterate(events)

    def inbox(self, name: str, *, reader: str | None = None) -> Iterator[InboxDelivery[None]]:
        """Results of jobs. Each repeats until `delivery.ack()`. Leaving the loop early is safe."""
        thread = self._thread()
        deliveries: AsyncGenerator[InboxDelivery[Any], None] = self._client.inbox(name, reader=reader)
        with closing(thread.iterate(deliveries)) as iterated:
            for delivery in iterated:
                yield replace(delivery, ack=partial(self._call_in, thread, delivery.ack))

    def result(self, job_id: str) -> Result | None:
        """The final result of a job; None while there is none. Raises `UnknownJob`."""
        return self._call(partial(self._client.result, job_id))

    def record(self, job_id: str) -> JobRecord:
        """The stored state of a job. Raises `UnknownJob`."""
        return self._call(partial(self._client.record, job_id))

    def cancel(self, job_id: str) -> bool:
        """End a job. False: it had ended before."""
        return self._call(partial(self._client.cancel, job_id))

    def load_model(self, model: str, *, backend: str | None = None) -> list[ModelLoad]:
        """Load a model into the memory of its backends, or of one of them, and wait for it. Raises `UnknownName`."""
        return self._call(partial(self._client.load_model, model, backend=backend))

    def resolve(self, role: str | None = None, **options: Unpack[ResolveOptions]) -> RuntimeModel:
        """The model to call now, for a program that calls models itself. Give the outcome to `report`."""
        model = self._call(partial(self._client.resolve, role, **options))
        return replace(model, reporter=lambda called, outcome: self.report(called, **outcome))

    def report(self, model: RuntimeModel, **outcome: Unpack[CallOutcome]) -> bool:
        """Report the outcome of such a call to the breakers and the ledger. False: Redis did not take it."""
        return self._call(partial(self._client.report, model, **outcome))

    def _call(self, step: Callable[[], Awaitable[T]]) -> T:
        return self._thread().call(step)

    def _call_in(self, thread: LoopThread, step: Callable[[], Awaitable[T]]) -> T:
        """What refers to this method refers to the client, and so its thread goes on."""
        return thread.call(step)

    def _thread(self) -> LoopThread:
        if self._closed:
            raise closed(at_exit=self._at_exit)
        process = os.getpid()
        return self._threads.get(process) or self._threads.setdefault(process, LoopThread(self._client.close))


def _close_at_exit(client: ref[Openfall]) -> None:
    """A weak reference: `atexit` would keep each client, and its thread, until the program ends."""
    if (open_client := client()) is not None:
        open_client._at_exit = True  # noqa: SLF001 - of the same module
        open_client.close()
