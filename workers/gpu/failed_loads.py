"""When a model is loaded again whose load failed, or that left the memory of its card by itself."""

from __future__ import annotations

import logging

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.card_state import CardState, FailedLoad
from openfall.router_core.vocabulary import ErrorClass

log = logging.getLogger("openfall.cards")

Pauses = tuple[float, float]
"""Seconds until a model is tried again: the first time, and at most."""

PAUSES: Pauses = (60.0, 600.0)
PAUSES_AFTER_EVICTION: Pauses = (5.0, 600.0)
"""For a model that something else has evicted, or that left the memory by itself."""
PAUSES_WHILE_AWAY: Pauses = (2.0, 8.0)
"""For a load that failed because the engine was away: the model is not to blame."""
STEADY_SECONDS = 60.0
"""A model that leaves by itself within this time of its load has crashed, or was evicted by another program."""
EARLY_DEPARTURES = 3
"""After this number of them in a row the model counts as one that cannot be loaded."""


def pauses_after(failure: Failure, *, is_evicted: bool) -> Pauses:
    """The pauses after a failed load. `is_evicted`: the model was loaded, and had left again at once."""
    if is_evicted:
        return PAUSES_AFTER_EVICTION
    return PAUSES_WHILE_AWAY if failure.error_class is ErrorClass.CONNECTION else PAUSES


def postpone_load(state: CardState, alias: str, pauses: Pauses, now: float, why: str) -> None:
    """Do not try a model for a while: each time for twice as long, until it has stayed in memory."""
    before, (first, longest) = state.refused.get(alias), pauses
    seconds = first if before is None else min(longest, 2 * before.seconds)
    state.refused[alias] = FailedLoad(now + seconds, seconds, why)
    log.warning("%s could not be loaded, and is not tried for %.0f s: %s", alias, seconds, why)
