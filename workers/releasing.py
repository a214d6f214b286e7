"""Held jobs offered, about every second, to the models that take calls: replay by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from router_core.catalog import Catalog
from router_core.job import Urgency
from router_core.state.link import Link
from router_core.state.release import Offer, release
from router_core.state.survey import Survey
from workers.watch import Watch

log = logging.getLogger("openfall.releasing")

RELEASE_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Releaser:
    """Carries out the rounds of one degrade worker, by what its watch has seen last."""

    link: Link
    watch: Watch

    async def round(self) -> None:
        """Let go of what may go now."""
        if self.watch.last is None:
            return
        catalog = self.watch.catalog
        for job_id, queue in await release(
            self.link, offers(catalog, self.watch.last), catalog.open_fall.release_first
        ):
            log.info("%s: released to %s", job_id, queue)


def offers(catalog: Catalog, seen: Survey) -> Iterator[Offer]:
    """The models that take calls, and how many held jobs each may have at once: as many as it has slots, at most."""
    for alias, spec in catalog.models.items():
        urgencies = tuple(urgency for urgency in Urgency if seen.fleet(urgency).model(alias).blocked is None)
        if urgencies:
            slots = sum(catalog.backends[name].slots for name in spec.at)
            most = min(slots, catalog.open_fall.release_most or slots)
            yield Offer(alias, catalog.pool_of(alias), most, urgencies)
