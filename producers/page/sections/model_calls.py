"""Which models take calls now, and which roles have none that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from openfall.producers.outage import Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sources import BUDGETS
from openfall.router_core.catalog.budget_scope import NO_OWNER, counts_owner, is_counted
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import HoldReason, Urgency

NO_WORKER = "no worker"


@dataclass(frozen=True)
class ModelCalls:
    """What keeps calls from the models of a snapshot."""

    snapshot: PageSnapshot

    @cached_property
    def _served(self) -> frozenset[str]:
        """The queues from which a live worker claims."""
        if self.snapshot.status.suspended:
            return frozenset()
        workers = (worker for worker in self.snapshot.status.workers if worker.takes_jobs)
        return frozenset(queue for worker in workers for queue in worker.queues)

    @cached_property
    def _paused(self) -> frozenset[str]:
        return frozenset(queue.name for queue in self.snapshot.status.queues if queue.paused)

    @cached_property
    def _spent(self) -> list[str]:
        """The spent budgets that count the calls of every job."""
        states: Sequence[BudgetState] = self.snapshot.sources.get(BUDGETS.name, ())
        spent = (state.budget for state in states if state.is_spent)
        return [budget.name for budget in spent if budget.each is None and counts_owner(budget, NO_OWNER)]

    def obstacle(self, alias: str, urgency: Urgency) -> str:
        """What keeps jobs of an urgency from a model, in a few words; empty: nothing. A cooldown after a 429 is short,
        so it is none."""
        catalog = self.snapshot.catalog
        if self.snapshot.local_only is not None and not catalog.is_local(alias):
            return "local only"
        queue = catalog.queue(alias, urgency)
        if queue in self._paused:
            return "paused"
        if queue not in self._served:
            return NO_WORKER
        away = [item for item in self.snapshot.away if item.wait is not Wait.COOLDOWN and item.concerns(alias, catalog)]
        left = set(catalog.models[alias].backends) - {backend for item in away for backend in item.backends}
        if not left:
            return away[0].cause
        return next((f"budget {name} spent" for name in self._spent if is_counted(catalog, name, alias)), "")

    def silent_roles(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each role of whose chain no model takes calls, and the obstacle of each model."""
        catalog = self.snapshot.catalog
        for name, role in catalog.roles.items():
            obstacles = {}
            for alias in role.chain:
                is_away = role.local_only and not catalog.is_local(alias)
                obstacles[alias] = "local only" if is_away else self.obstacle(alias, role.urgency or Urgency.BACKGROUND)
            if all(obstacles.values()):
                yield name, obstacles

    def can_run(self, job: HeldJob) -> bool:
        """Whether a held job would be called after a replay."""
        if job.reason is HoldReason.BUDGET and job.ready_at > self.snapshot.now:
            return False
        models = [alias for alias in job.release_models if alias in self.snapshot.catalog.models]
        return not models or any(not self.obstacle(alias, job.urgency) for alias in models)
