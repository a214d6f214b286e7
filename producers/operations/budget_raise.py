"""The limit of a budget, raised for a while."""

from __future__ import annotations

from openfall.producers.operations.operator import Operator
from openfall.producers.request import parse_duration
from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.errors import UnknownName
from openfall.router_core.state import budget_book


async def raise_budget(operator: Operator, name: str, usd: float, duration: str) -> float:
    """Raise the limit of a budget; 0 ends that. Returns until when, in epoch seconds. Raises `UnknownName`."""
    known = [budget.name for budget in all_budgets(operator.catalog)]
    if name not in known:
        raise UnknownName("budget", name, known)
    until = await operator.llm.store.server_time() + parse_duration(duration)
    await budget_book.raise_budget(operator.link, name, round(usd * 1e9), until)
    await operator.note("budget.raise", name, f"${usd:g} more for {duration}")
    return until
