"""One switch of a card: unload what leaves, load what comes, and say what became true."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.card_state import CardState, MeasuredModel, ModelOnCard, Switch
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.gpu.card_engine import CardEngine, EngineContent
from openfall.workers.gpu.failed_loads import (
    EARLY_DEPARTURES,
    PAUSES_AFTER_EVICTION,
    STEADY_SECONDS,
    pauses_after,
    postpone_load,
)

log = logging.getLogger("openfall.cards")

UNLOAD_TIMEOUT_SECONDS = 30.0
LOAD_GRACE_SECONDS = 30.0
LOAD_FACTOR = 4
"""A load may take this multiple of its usual time, and the grace."""
EVICTED = "it was loaded and had left again at once: something else uses the engine"
MAX_MEASURED_LOADS = 5
MAX_GROWTH = 1.3
"""A model uses at most this multiple of what its engine says."""


@dataclass(frozen=True, slots=True)
class SwitchOutcome:
    """What a switch has done. `failure` None: the model is ready. `seconds`: of the load alone. `grown_gb`: by how much
    the memory in use has grown meanwhile, as the driver of the card sees it; None: it says nothing."""

    switch: Switch
    content: EngineContent
    seconds: float
    failure: Failure | None = None
    grown_gb: float | None = None
    is_evicted: bool = False
    """The model was loaded, and had left again at once: something else uses the engine."""


UsedMemory = Callable[[], Awaitable[float | None]]
"""The memory of a card that is in use now, in GiB. None: its driver says nothing."""


async def switch_models(
    switch: Switch, engines: Mapping[str, CardEngine], epoch: int, used_gb: UsedMemory
) -> SwitchOutcome:
    """Make a switch. `engines`: by the model that is unloaded or loaded."""
    failure: Failure | None = None
    for alias in switch.evict:
        failure = await engines[alias].unload(alias, UNLOAD_TIMEOUT_SECONDS, epoch) or failure
    before_gb, began = await used_gb(), time.monotonic()
    engine = engines[switch.load or switch.evict[0]]
    if switch.load and failure is None:
        timeout = LOAD_FACTOR * switch.seconds + LOAD_GRACE_SECONDS
        failure = await engine.load(switch.load, timeout, epoch)
    seconds = time.monotonic() - began
    after_gb, content = await used_gb(), await engine.content()
    if isinstance(content, Failure):
        failure, content = failure or content, EngineContent({})
    is_evicted = bool(switch.load) and failure is None and switch.load not in content.models
    if is_evicted:
        failure = Failure(error_class=ErrorClass.NO_VRAM, detail=EVICTED)
    grown_gb = None if before_gb is None or after_gb is None else after_gb - before_gb
    return SwitchOutcome(switch, content, seconds, failure, grown_gb, is_evicted)


def apply_outcome(state: CardState, outcome: SwitchOutcome, now: float) -> None:
    """Write the outcome of a switch into the state of its card. Models that could not be unloaded are still there."""
    switch, state.switch = outcome.switch, None
    for alias in switch.evict:
        state.refused.pop(alias, None)
        if alias in outcome.content.models:
            state.models[alias] = ModelOnCard(switch.backend, now, outcome.content.models[alias])
    if not switch.load:
        return
    state.note_load(switch.since, max(outcome.seconds, now - switch.since))
    if outcome.failure is None:
        protected_until = now + switch.protected_seconds if switch.protected_seconds else 0.0
        gb = _measured_gb(outcome)
        state.models[switch.load] = ModelOnCard(switch.backend, now, gb, protected_until, loaded_for=switch.reason)
        state.kept_out = [alias for alias in state.kept_out if alias != switch.load]
        return
    if outcome.is_evicted:
        state.note_departure(now)
    pauses = pauses_after(outcome.failure, is_evicted=outcome.is_evicted)
    postpone_load(state, switch.load, pauses, now, outcome.failure.detail or str(outcome.failure.error_class))


def measured_by(outcome: SwitchOutcome, before: MeasuredModel, free_gb: float) -> MeasuredModel:
    """What a load teaches about a model. One that did not fit needs more than was free."""
    if outcome.failure is None:
        loads = [*before.load_seconds, round(outcome.seconds, 2)][-MAX_MEASURED_LOADS:]
        return MeasuredModel(loads, round(_measured_gb(outcome), 2) or before.gb)
    if outcome.failure.error_class is ErrorClass.NO_VRAM and not outcome.is_evicted:
        return MeasuredModel(before.load_seconds, max(before.gb, free_gb))
    return before


def _measured_gb(outcome: SwitchOutcome) -> float:
    """The memory of the model that was loaded: as its engine says, or what the driver saw (with its buffers). Much
    more than the engine says is of another program."""
    by_engine = outcome.content.models[outcome.switch.load]
    grown_gb = outcome.grown_gb or 0.0
    return max(by_engine, min(grown_gb, MAX_GROWTH * by_engine))


def adopt_content(state: CardState, backend: str, content: EngineContent, now: float) -> list[str]:
    """Take over what an engine has in memory. Returns the models that have left by themselves too often to be tried
    again soon."""
    gone = [alias for alias, model in state.models.items() if model.backend == backend and alias not in content.models]
    given_up = []
    for alias in gone:
        stayed = now - state.models.pop(alias).ready_at
        log.warning("%s has left the memory of %s by itself", alias, backend)
        if content.is_away:
            continue
        state.note_departure(now)
        if stayed < STEADY_SECONDS:
            why = f"it left the memory by itself {stayed:.0f} s after its load: its server crashed, or unloaded it"
            postpone_load(state, alias, PAUSES_AFTER_EVICTION, now, why)
            if state.refused[alias].seconds >= PAUSES_AFTER_EVICTION[0] * 2 ** (EARLY_DEPARTURES - 1):
                given_up.append(alias)
    for alias, gb in content.models.items():
        if alias not in state.models:
            state.models[alias] = ModelOnCard(backend, now, gb)
        elif now - state.models[alias].ready_at >= STEADY_SECONDS:
            state.refused.pop(alias, None)
    return given_up
