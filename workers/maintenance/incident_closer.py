"""Closes the incidents that are over."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.incidents import Incident, close_incident, open_incidents
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BlockReason, HoldReason, Urgency

CLOSE_INTERVAL_SECONDS = 2.0

log = logging.getLogger("openfall.incidents")

SET_BY_OPERATOR = frozenset({BlockReason.PAUSED, BlockReason.LOCAL_ONLY})
"""Blocks that an operator has set. They do not keep an outage open."""


async def close_ended_incidents(link: RedisConnection, snapshot: FleetSnapshot) -> None:
    """Close every incident that is over. An outage is not over while all models of one of its chains take no calls."""
    for incident in await open_incidents(link):
        if incident.reason == HoldReason.OUTAGE and _has_unserved_chain(incident, snapshot):
            continue
        if await close_incident(link, incident.reason, tuple(snapshot.backends), incident.models):
            log.warning("%s: over: %d falls, %d replayed, %d expired", incident.id, incident.falls, incident.replayed,
                        incident.expired)  # fmt: skip


def _has_unserved_chain(incident: Incident, snapshot: FleetSnapshot) -> bool:
    """Whether no model of a chain that fell takes calls, for one of the urgencies that fell."""
    urgencies = [urgency for urgency in Urgency if urgency in incident.urgencies] or list(Urgency)
    return any(_is_unserved(chain.split(","), urgency, snapshot) for chain in incident.chains for urgency in urgencies)


def _is_unserved(chain: Sequence[str], urgency: Urgency, snapshot: FleetSnapshot) -> bool:
    """A model that an operator blocks, or that was removed from the catalog, does not count."""
    fleet = snapshot.fleet_state(urgency)
    blocks = [fleet.model(model).blocked for model in chain if model in snapshot.backends]
    counted = [block for block in blocks if block is None or block.reason not in SET_BY_OPERATOR]
    return bool(counted) and None not in counted
