"""Closes the incidents that are over."""

from __future__ import annotations

import logging

from openfall.router_core.degrading.incident_end import end_conditions, has_unserved_chain
from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.incidents import close_incident, open_incidents
from openfall.router_core.state.redis_connection import RedisConnection

CLOSE_INTERVAL_SECONDS = 2.0

log = logging.getLogger("openfall.incidents")


async def close_ended_incidents(link: RedisConnection, snapshot: FleetSnapshot) -> None:
    """Close every incident that is over."""
    for incident in await open_incidents(link):
        if end_conditions(incident.reason).needs_served_chains and has_unserved_chain(
            incident.chains, incident.urgencies, snapshot.fleet_states, snapshot.backends
        ):
            continue
        if await close_incident(link, incident.reason, tuple(snapshot.backends), incident.models):
            log.warning("%s: over: %d falls, %d replayed, %d expired", incident.id, incident.falls, incident.replayed,
                        incident.expired)  # fmt: skip
