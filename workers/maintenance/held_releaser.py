"""Releases held jobs to the models that take calls again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.budget_book import BudgetBook, examine_held_for_budgets
from openfall.router_core.state.fleet_snapshot import FleetSnapshot
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_subscription import backend_capacity
from openfall.router_core.vocabulary import Urgency

RELEASE_INTERVAL_SECONDS = 1.0

EXAMINED_RUNS = (0, 10)
"""The releases of a new configuration before which held jobs that wait for a budget are examined again. Other workers
follow a changed file some seconds later: a job that one of them claims before that falls for the old limit."""

log = logging.getLogger("openfall.releasing")


@dataclass(slots=True)
class HeldReleaser:
    """The releases of a worker with one configuration."""

    link: RedisConnection
    catalog: Catalog
    _runs: int = field(default=0, init=False)

    async def release(self, snapshot: FleetSnapshot | None) -> None:
        """Release the jobs that may be released now. None: the fleet is not known yet."""
        if self._runs in EXAMINED_RUNS:  # this configuration may have raised a budget
            await examine_held_for_budgets(self.link)
        self._runs += 1
        if snapshot is None:
            return
        budgets = _release_budgets(self.catalog, snapshot)
        money = BudgetBook(all_budgets(self.catalog)).pack(snapshot.now)
        for job_id, queue in await release_held(self.link, budgets, self.catalog.open_fall.release_initial, money):
            log.info("released to %s", queue, extra={"job": job_id, "queue": queue})


def _release_budgets(catalog: Catalog, snapshot: FleetSnapshot) -> Iterator[ReleaseBudget]:
    """The models that take calls, and how many held jobs each may get at once: at most one per slot."""
    for alias, spec in catalog.models.items():
        urgencies = tuple(urgency for urgency in Urgency if snapshot.fleet_state(urgency).model(alias).blocked is None)
        if urgencies:
            slots = sum(catalog.backends[name].slots for name in spec.backends)
            limit = min(slots, catalog.open_fall.release_max or slots)
            backend = backend_capacity(catalog, spec.backends[0], alias)
            yield ReleaseBudget(alias, catalog.pool_of(alias), limit, urgencies, backend if backend.budgets else None)
