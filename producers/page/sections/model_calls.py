"""Which models take calls now, and which roles have none that does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from openfall.producers.held_release_text import FleetBlocks, blocks_of
from openfall.producers.operations.held_actions import is_ready
from openfall.producers.outage_text import Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.calls_over_budget import CallOverBudget, calls_over_budget
from openfall.producers.page.sources import BUDGETS, CARD_STATES
from openfall.router_core.catalog.budget_scope import NO_OWNER, counts_owner, is_counted
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import HoldReason, Urgency

NO_WORKER, PAUSED, LOCAL_ONLY = "no worker", "paused", "local only"


@dataclass(frozen=True)
class ModelCalls:
    """What keeps calls from the models of a snapshot."""

    snapshot: PageSnapshot

    @cached_property
    def blocks(self) -> FleetBlocks:
        """What keeps jobs from models."""
        snapshot = self.snapshot
        cards: Mapping[str, CardState] = snapshot.sources.get(CARD_STATES.name, {})
        is_local_only = snapshot.local_only is not None
        return blocks_of(snapshot.status, snapshot.away, cards, snapshot.catalog, is_local_only=is_local_only)

    @cached_property
    def _shared(self) -> Mapping[str, BudgetState]:
        """The budgets that count the calls of every job."""
        states: Sequence[BudgetState] = self.snapshot.sources.get(BUDGETS.name, ())
        return {
            state.budget.name: state
            for state in states
            if state.budget.each is None and counts_owner(state.budget, NO_OWNER)
        }

    @cached_property
    def calls_over_budget(self) -> Mapping[tuple[str | None, str], CallOverBudget]:
        """By role and model: the calls that do not fit now into a budget of every job."""
        calls = (
            (job.role, call)
            for job in self.snapshot.held_jobs
            for call in calls_over_budget(job, self.snapshot.catalog)
        )
        return {(role, call.model): call for role, call in calls if call.budget in self._shared}

    def obstacle(self, alias: str, urgency: Urgency) -> str:
        """What keeps jobs of an urgency from a model, in a few words; empty: nothing. A cooldown after a 429 is short,
        so it is none."""
        catalog = self.snapshot.catalog
        if self.snapshot.local_only is not None and not catalog.is_local(alias):
            return LOCAL_ONLY
        queue = catalog.queue(alias, urgency)
        if queue in self.blocks.paused:
            return PAUSED
        if queue not in self.blocks.served:
            return NO_WORKER
        away = [item for item in self.snapshot.away if item.wait is not Wait.COOLDOWN and item.concerns(alias, catalog)]
        left = set(catalog.models[alias].backends) - {backend for item in away for backend in item.backends}
        if not left:
            return away[0].cause
        spent = [name for name, state in self._shared.items() if state.is_spent]
        return next((f"budget {name} spent" for name in spent if is_counted(catalog, name, alias)), "")

    def silent_roles(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each role of whose chain no model takes calls, and the obstacle of each model."""
        catalog = self.snapshot.catalog
        for name, role in catalog.roles.items():
            obstacles = {}
            for alias in role.chain:
                is_away = role.local_only and not catalog.is_local(alias)
                why = LOCAL_ONLY if is_away else self.obstacle(alias, role.urgency or Urgency.BACKGROUND)
                if not why and (call := self.calls_over_budget.get((name, alias))) is not None:
                    why = f"budget {call.budget} has too little left"
                obstacles[alias] = why
            if all(obstacles.values()):
                yield name, obstacles

    def can_run(self, job: HeldJob) -> bool:
        """Whether a held job would be called after a replay, if need be after a load."""
        if job.reason is HoldReason.BUDGET and job.ready_at > self.snapshot.now:
            return False
        models = [alias for alias in job.release_models if alias in self.snapshot.catalog.models]
        return not models or any(not self.obstacle(alias, job.urgency) for alias in models)

    def is_ready(self, job: HeldJob) -> bool:
        """Whether a held job could be called now. Of one that names no models this is not known: it may be."""
        models = self.snapshot.catalog.models.keys() & set(job.release_models) - self.blocks.loads.keys()
        takes_calls = {alias for alias in models if not self.obstacle(alias, job.urgency)}
        return is_ready(job, takes_calls if job.release_models else {""}, self.snapshot.now)
