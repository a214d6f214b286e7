"""Makes one call of a model within its limits, and shows its progress to the caller of the job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.accepted_refusals import accepts_refusals
from openfall.router_core.deciding.ensemble import ensemble_for, judge_body
from openfall.router_core.deciding.steps import Call
from openfall.router_core.deciding.subscription_limits import PlanShare
from openfall.router_core.jobs.outcome import Outcome
from openfall.router_core.jobs.request_body import last_user_text
from openfall.router_core.jobs.stream_pieces import Piece, RefusalPiece
from openfall.router_core.state.claims import Delivery
from openfall.router_core.vocabulary import JobKind
from openfall.workers.backends.call_request import OnPieces, Request
from openfall.workers.backends.registry import Clients
from openfall.workers.backends.stall_watch import CallWatch
from openfall.workers.execution.delivery_state import DeliveryState
from openfall.workers.execution.progress_events import CallProgress, OnProgress

LOOK_TIMEOUT_SECONDS = 2.0
"""For the list of an endpoint's loaded models."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """The outcome of a call. `progressed_after`: its last progress, in seconds since its start; 0: there was none.
    `first_token_after`: the first piece of its answer; None: it was not streamed. `plan_shares`: what the response says
    of the limits of a subscription."""

    answer: Outcome
    progressed_after: float
    first_token_after: float | None = None
    plan_shares: tuple[PlanShare, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCaller:
    """Makes the calls of one executor.

    `loading` has the calls of this worker that load a model, by backend and model: an Ollama lists a model as loaded
    while it is still being loaded.
    """

    catalog: Catalog
    clients: Clients
    loading: dict[tuple[str, str], CallWatch] = field(default_factory=dict)

    async def call(
        self, call: Call, state: DeliveryState, on_pieces: OnPieces, on_progress: OnProgress | None
    ) -> CallResult:
        """Make one call. Raises only when cancelled."""
        delivery, watch = state.delivery, CallWatch(call.timeout, call.stream_limits)
        load_time = self.catalog.models[call.model].load_time
        progress = CallProgress(
            model=call.model, backend=delivery.backend, load_time=load_time, watch=watch, show=on_progress
        )
        looking = asyncio.create_task(self._look(call, delivery, progress)) if watch.load_seconds else None
        progress.start()
        try:
            client = self.clients[delivery.backend, delivery.credential]
            request = self._request(call, state, watch)
            if state.job.kind is JobKind.EMBEDDING:
                answer = await client.embed(request)
            else:
                answer = await client.complete(request, self._receiver(call, state, on_pieces))
        finally:
            progress.stop()
            if looking is not None:
                looking.cancel()
                if self.loading.get(key := (delivery.backend, call.model)) is watch:
                    del self.loading[key]
        first_token_after = None if watch.whole else watch.first_token_after
        return CallResult(answer, watch.progressed_after, first_token_after, watch.plan_shares)

    def _receiver(self, call: Call, state: DeliveryState, on_pieces: OnPieces) -> OnPieces | None:
        """The receiver of the pieces of an answer; None: the call need not be streamed."""
        embedded = self.catalog.backends[state.delivery.backend].embedded
        is_followed = state.delivery.streamed or call.stream_limits is not None or embedded
        # One of several answers is perhaps not the one that is picked.
        if not is_followed or ensemble_for(state.job, self.catalog) is not None:
            # llama.cpp notices a closed connection only while it streams (6 s late, measured).
            return _discard if embedded else None
        return on_pieces if accepts_refusals(state.job, self.catalog) else _without_refusals(on_pieces)

    async def _look(self, call: Call, delivery: Delivery, progress: CallProgress) -> None:
        """Look whether the model has to be loaded first. The call is on its way meanwhile."""
        key, watch = (delivery.backend, call.model), progress.watch
        if key not in self.loading or not self.loading[key].is_loading:
            client = self.clients[delivery.backend, delivery.credential]
            upstream = self.catalog.models[call.model].upstream
            loaded = await client.list_loaded(LOOK_TIMEOUT_SECONDS)
            if not isinstance(loaded, tuple) or any(model.is_called(upstream) for model in loaded):
                return  # an endpoint that does not say it has nothing to load, and one that hangs loads nothing
            self.loading[key] = watch
        watch.allow_load()
        if watch.is_loading:
            progress.show_load()

    def _request(self, call: Call, state: DeliveryState, watch: CallWatch) -> Request:
        job, model = state.job, self.catalog.models[call.model]
        body: Mapping[str, object] = job.body
        if call.is_judging:
            body = judge_body(last_user_text(job.body), state.answers, job.dialect)
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
            max_inputs=model.max_inputs,
            service_tier=call.service_tier,
            wire_headers={} if call.is_judging else job.wire_headers,
        )


def _without_refusals(on_pieces: OnPieces) -> OnPieces:
    """A receiver that is given no refusal: the next model may answer. If none does, the result has the refusal."""

    def receive(pieces: Sequence[Piece]) -> None:
        if kept := [piece for piece in pieces if not isinstance(piece, RefusalPiece)]:
            on_pieces(kept)

    return receive


def _discard(pieces: Sequence[Piece]) -> None:
    """Ignores the pieces of a stream that has no listener."""
