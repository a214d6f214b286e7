"""When an incident is over: a round of the degrade worker."""

from __future__ import annotations

import logging

from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.incidents import Incident, close_incident, open_incidents
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    BlockReason,
    HoldReason,
    Urgency,
)

log = logging.getLogger("openfall.incidents")

WANTED = frozenset({BlockReason.PAUSED, BlockReason.LOCAL_ONLY})
"""What an operator has done, and need not undo for an outage to be over."""


async def close_ended_incidents(link: RedisConnection, seen: FleetSnapshot) -> None:
    """Close every incident that is over by now: an outage not while a model that it named is away."""
    for found in await open_incidents(link):
        if found.reason == HoldReason.OUTAGE and _is_away(found, seen):
            continue
        if await close_incident(link, found.reason, tuple(seen.backends), found.models):
            log.warning("%s is over: %d falls, %d replayed, %d expired", found.id, found.falls, found.replayed,
                        found.expired)  # fmt: skip


def _is_away(found: Incident, seen: FleetSnapshot) -> bool:
    """Whether a model that it named takes no calls, by nobody's will. One that the catalog has no more is not away."""
    urgencies = [urgency for urgency in Urgency if urgency in found.urgencies] or list(Urgency)
    models = [model for model in found.models if model in seen.backends]
    blocks = (seen.fleet_state(urgency).model(model).blocked for urgency in urgencies for model in models)
    return any(block is not None and block.reason not in WANTED for block in blocks)
