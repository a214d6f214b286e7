"""Raises the limit of a budget for a while."""

from __future__ import annotations

from typing import NamedTuple

from openfall.producers.errors import BadRequest
from openfall.producers.job_request import parse_duration
from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state import budget_book

MAX_USD = 1e6


class Raise(NamedTuple):
    """A raise of a limit: until when, in epoch seconds, and what all raises of the budget add up to, in nanodollars."""

    until: float
    total_nusd: int


async def raise_budget(operator: Operator, name: str, usd: float, duration: str, why: str = "") -> Raise:
    """Raise the limit of a budget by some more US dollars; 0 ends all its raises. Held jobs that wait for a budget are
    examined at once. Raises `UnknownName`, `BadRequest`."""
    if not 0 <= usd <= MAX_USD:
        raise BadRequest(f"a budget is raised by 0 to {MAX_USD:,.0f} US dollars, not by {usd:g}")
    known = [budget.name for budget in all_budgets(operator.catalog)]
    if name not in known:
        raise UnknownName("budget", name, known)
    until = await operator.llm.store.server_time() + parse_duration(duration, "for")
    total = await budget_book.raise_budget(operator.link, name, round(usd * 1e9), until)
    await operator.note("budget.raise", name, f"${usd:g} more for {duration}" if usd else "no longer raised", why)
    return Raise(until, total)
