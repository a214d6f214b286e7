"""Makes one call of a model within its limits, and shows its progress to the caller of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.decide import Call
from openfall.router_core.deciding.ensemble import ensemble_for, judge_body
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Answer, Outcome
from openfall.router_core.jobs.request_body import last_user_text
from openfall.workers.backends.base import OnDelta, Request
from openfall.workers.backends.call_watch import CallWatch
from openfall.workers.backends.registry import Clients


@dataclass(frozen=True, slots=True)
class CalledJob:
    """The job of a call, the backend and the key that the claim chose, and the answers that an ensemble has so far."""

    job: CompletionJob
    backend: str
    credential: str
    answers: Sequence[Answer] = ()


@dataclass(frozen=True, slots=True)
class CallResult:
    """The outcome of a call. `progressed_after`: its last progress, in seconds since its start; 0: there was none."""

    answer: Outcome
    progressed_after: float


@dataclass(frozen=True, slots=True)
class ModelCaller:
    """Makes the calls of one executor."""

    catalog: Catalog
    clients: Clients

    async def call(self, call: Call, called: CalledJob, on_delta: OnDelta | None) -> CallResult:
        """Make one call. Raises only when cancelled."""
        watch = CallWatch(call.timeout, call.stream_limits)
        if ensemble_for(called.job, self.catalog) is not None:
            on_delta = None  # this is one of several answers, and perhaps not the one that is picked
        if on_delta is None and self.catalog.backends[called.backend].embedded:
            on_delta = _discard  # llama.cpp notices a closed connection only while it streams (6 s late, measured)
        answer = await self.clients[called.backend, called.credential].complete(
            self._request(call, called, watch), on_delta
        )
        return CallResult(answer, watch.progressed_after)

    def _request(self, call: Call, called: CalledJob, watch: CallWatch) -> Request:
        job, model = called.job, self.catalog.models[call.model]
        body: Mapping[str, object] = job.body
        if call.judging:
            body = judge_body(last_user_text(job.body), called.answers, job.dialect)
        capabilities = model.capabilities
        return Request(
            body=body,
            dialect=job.dialect,
            upstream=model.upstream,
            timeout=call.timeout,
            max_tokens=model.max_tokens,
            sampling_params=capabilities.sampling_params,
            thinking=capabilities.thinking,
            ctx=model.context,
            watch=watch,
        )


def _discard(text: str) -> None:
    """Ignores the pieces of a stream that has no listener."""
