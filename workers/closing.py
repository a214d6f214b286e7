"""When an incident is over: a round of the degrade worker."""

from __future__ import annotations

import logging

from router_core.fleet import Obstacle
from router_core.job import Urgency
from router_core.open_fall import HoldReason
from router_core.state.incidents import Incident, close, open_incidents
from router_core.state.link import Link
from router_core.state.survey import Survey

log = logging.getLogger("openfall.incidents")

WANTED = frozenset({Obstacle.PAUSED, Obstacle.LOCAL_ONLY})
"""What an operator has done, and need not undo for an outage to be over."""


async def close_ended(link: Link, seen: Survey) -> None:
    """Close every incident that is over by now: an outage not while a model that it named is away."""
    for found in await open_incidents(link):
        if found.reason == HoldReason.OUTAGE and _is_away(found, seen):
            continue
        if await close(link, found.reason, tuple(seen.seats), found.models):
            log.warning("%s is over: %d falls, %d replayed, %d expired", found.id, found.falls, found.replayed,
                        found.expired)  # fmt: skip


def _is_away(found: Incident, seen: Survey) -> bool:
    """Whether a model that it named takes no calls, by nobody's will. One that the catalog has no more is not away."""
    urgencies = [urgency for urgency in Urgency if urgency in found.urgencies] or list(Urgency)
    models = [model for model in found.models if model in seen.seats]
    blocks = (seen.fleet(urgency).model(model).blocked for urgency in urgencies for model in models)
    return any(block is not None and block.obstacle not in WANTED for block in blocks)
