"""Models that a spent budget keeps from being called, as a route knows them before a claim asks the budget itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from openfall.router_core.catalog.budget_scope import CallOwner, all_budgets, budgets_of, counts_owner, owner_in
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.routing.fleet_state import Blocked, FleetState, SpentBudget
from openfall.router_core.vocabulary import BlockReason


def block_spent(catalog: Catalog, fleet: FleetState, aliases: Iterable[str], owner: CallOwner) -> FleetState:
    """The same fleet, but those models are blocked whose calls for an owner a spent budget counts, at each of their
    backends. A block of another reason stays."""
    if not fleet.spent:
        return fleet
    budgets = {budget.name: budget for budget in all_budgets(catalog) if counts_owner(budget, owner)}
    blocked = {}
    for alias in aliases:
        spent = []
        for backend in catalog.models[alias].backends:
            names = [name for name in budgets_of(catalog, backend, alias) if name in budgets]
            keys = [budget_key(name, owner_in(budgets[name], owner)) for name in names]
            spent.append(max((fleet.spent[key] for key in keys if key in fleet.spent), key=_until, default=None))
        state = fleet.model(alias)
        if state.blocked is None and (first := min(spent, key=_until)) is not None:
            blocked[alias] = replace(state, blocked=Blocked(BlockReason.BUDGET, first.until, first.detail))
    return replace(fleet, models={**fleet.models, **blocked})


def budget_key(name: str, owner: str) -> str:
    """A budget in `FleetState.spent`: with the group, producer or role that it is of, if it is for `each`."""
    return f"{name}:{owner}" if owner else name


def _until(spent: SpentBudget | None) -> float:
    return 0.0 if spent is None else spent.until
