"""Closes the incidents that are over."""

from __future__ import annotations

import logging

from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.incidents import Incident, close_incident, open_incidents
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BlockReason, HoldReason, Urgency

log = logging.getLogger("openfall.incidents")

SET_BY_OPERATOR = frozenset({BlockReason.PAUSED, BlockReason.LOCAL_ONLY})
"""Blocks that an operator has set. They do not keep an outage open."""


async def close_ended_incidents(link: RedisConnection, snapshot: FleetSnapshot) -> None:
    """Close every incident that is over. An outage is not over while one of its models takes no calls."""
    for incident in await open_incidents(link):
        if incident.reason == HoldReason.OUTAGE and _has_blocked_model(incident, snapshot):
            continue
        if await close_incident(link, incident.reason, tuple(snapshot.backends), incident.models):
            log.warning("%s: over: %d falls, %d replayed, %d expired", incident.id, incident.falls, incident.replayed,
                        incident.expired)  # fmt: skip


def _has_blocked_model(incident: Incident, snapshot: FleetSnapshot) -> bool:
    """Whether a model of the incident takes no calls, other than by an operator's will. A model that was removed from
    the catalog does not count."""
    urgencies = [urgency for urgency in Urgency if urgency in incident.urgencies] or list(Urgency)
    models = [model for model in incident.models if model in snapshot.backends]
    blocks = (snapshot.fleet_state(urgency).model(model).blocked for urgency in urgencies for model in models)
    return any(block is not None and block.reason not in SET_BY_OPERATOR for block in blocks)
