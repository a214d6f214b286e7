"""What the fleet has spent, in one reading: for the command line, the page and metrics."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.budget_book import BudgetState, list_budgets
from openfall.router_core.state.ledger import LedgerEntry, last_days, read_ledger
from openfall.router_core.state.ledger_sums import UsageKey, UsageRow, usage_rows
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.subscription_plans import PlanState, list_plans
from openfall.router_core.state.unexpected_spend_days import UnexpectedDay, read_unexpected


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyReport:
    """The money of a fleet at `at` (epoch seconds, server clock). All sums are whole nanodollars.

    `budgets`: the present windows, with a forecast. `entries`: the ledger of the last `days` (UTC), oldest first.
    `unexpected`: metered calls in place of models that cost nothing, of the same days.
    `plans`: the present windows of subscriptions."""

    at: float
    days: tuple[str, ...]
    budgets: tuple[BudgetState, ...] = ()
    entries: tuple[LedgerEntry, ...] = ()
    unexpected: tuple[UnexpectedDay, ...] = ()
    plans: tuple[PlanState, ...] = ()

    @property
    def nusd(self) -> int:
        """The known cost of these days."""
        return sum(entry.nusd for entry in self.entries)

    @property
    def saved_nusd(self) -> int:
        """What these days cost less than at live prices."""
        return sum(entry.saved_nusd + entry.cache_saved_nusd for entry in self.entries)

    def usage(self, by: UsageKey) -> list[UsageRow]:
        """The sums by model, backend, group, day or month."""
        return usage_rows(self.entries, by)


async def read_money(link: RedisConnection, catalog: Catalog, now: float, days: int = 1) -> MoneyReport:
    """The budgets now, and the ledger of the last days, including today."""
    names = last_days(now, days)
    budgets, entries, unexpected, plans = await asyncio.gather(
        list_budgets(link, all_budgets(catalog), now),
        read_ledger(link, names),
        read_unexpected(link, names),
        list_plans(link, catalog, now),
    )
    return MoneyReport(
        at=now,
        days=names,
        budgets=tuple(budgets),
        entries=tuple(entries),
        unexpected=tuple(unexpected),
        plans=tuple(plans),
    )
