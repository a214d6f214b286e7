"""When an incident is over: a round of the degrade worker."""

from __future__ import annotations

import logging

from router_core.job import Urgency
from router_core.open_fall import HoldReason
from router_core.state.incidents import Incident, close, open_incidents
from router_core.state.link import Link
from router_core.state.survey import Survey

log = logging.getLogger("openfall.incidents")


async def close_ended(link: Link, seen: Survey) -> None:
    """Close every incident that is over by now: an outage not while a model that it named takes no calls."""
    fleet_models = set(seen.seats)
    for found in await open_incidents(link):
        if found.reason == HoldReason.OUTAGE and _is_blocked(found, seen):
            continue
        if await close(link, found.reason, fleet_models | set(found.models)):
            log.warning("%s is over: %d falls, %d replayed, %d expired", found.id, found.falls, found.replayed,
                        found.expired)  # fmt: skip


def _is_blocked(found: Incident, seen: Survey) -> bool:
    """A model that the catalog has no more blocks nothing."""
    urgencies = [urgency for urgency in Urgency if urgency in found.urgencies] or list(Urgency)
    models = [model for model in found.models if model in seen.seats]
    return any(seen.fleet(urgency).model(model).blocked is not None for urgency in urgencies for model in models)
