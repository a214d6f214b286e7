"""Held jobs offered, about every second, to the models that take calls: replay by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    Urgency,
)
from openfall.workers.maintenance.fleet_cache import FleetCache

log = logging.getLogger("openfall.releasing")

RELEASE_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class HeldReleaser:
    """Carries out the rounds of one degrade worker, by what its watch has seen last."""

    link: RedisConnection
    watch: FleetCache

    async def round(self) -> None:
        """Let go of what may go now."""
        if self.watch.last is None:
            return
        catalog = self.watch.catalog
        for job_id, queue in await release_held(
            self.link, offers(catalog, self.watch.last), catalog.open_fall.release_initial
        ):
            log.info("%s: released to %s", job_id, queue)


def offers(catalog: Catalog, seen: FleetSnapshot) -> Iterator[ReleaseBudget]:
    """The models that take calls, and how many held jobs each may have at once: as many as it has slots, at most."""
    for alias, spec in catalog.models.items():
        urgencies = tuple(urgency for urgency in Urgency if seen.fleet_state(urgency).model(alias).blocked is None)
        if urgencies:
            slots = sum(catalog.backends[name].slots for name in spec.backends)
            most = min(slots, catalog.open_fall.release_max or slots)
            yield ReleaseBudget(alias, catalog.pool_of(alias), most, urgencies)
