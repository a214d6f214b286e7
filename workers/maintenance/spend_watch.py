"""Notices about money: calls that a free model should have served, budgets and subscriptions that run out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from openfall.router_core.catalog.budget_windows import BudgetWindow
from openfall.router_core.catalog.budgets import OverKind
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.prices import nanodollars
from openfall.router_core.deciding.forecast import warns_early
from openfall.router_core.deciding.subscription_limits import LOW_SHARE
from openfall.router_core.degrading.incident_end import MONEY_QUIET_SECONDS
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.incidents import observe_incident
from openfall.router_core.state.money_report import MoneyReport, read_money
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BUDGET_LOW, BUDGET_SPENT, PLAN_LOW, UNEXPECTED_SPEND

INTERVAL_SECONDS = 30.0


@dataclass(slots=True)
class SpendWatch:
    """Watches the sums of a fleet. `notify` lists the notifiers of incidents."""

    link: RedisConnection
    catalog: Catalog
    notify: Sequence[str] = ()
    _looked_at: float = field(default=float("-inf"), init=False)

    async def watch(self, now: float) -> None:
        """Open the incidents of money, or keep them open. It looks every half minute, whenever it is called."""
        if now - self._looked_at < INTERVAL_SECONDS:
            return
        self._looked_at = now
        report = await read_money(self.link, self.catalog, now)
        for reason, values in incidents_of(report, self.catalog):
            await observe_incident(self.link, reason, (), self.notify, values)


def incidents_of(report: MoneyReport, catalog: Catalog) -> Iterator[tuple[str, Mapping[str, int]]]:
    """The incidents of money that go on: their reasons, and the fields that say what they are about."""
    today = report.unexpected[-1]
    is_recent = report.at - today.last_at < MONEY_QUIET_SECONDS
    if is_recent and today.nusd >= nanodollars(catalog.spend.unexpected_usd):
        values = {"nusd": today.nusd}
        for row in today.rows:
            for name in (f"m:{row.model} instead of {row.instead_of}", f"c:{row.cause}"):
                values[name] = values.get(name, 0) + row.calls
        yield UNEXPECTED_SPEND, values
    if refusing := _shares(filter(_refuses, report.budgets)):
        yield BUDGET_SPENT, refusing
    if low := _shares(state for state in report.budgets if _is_low(state, report.at) and not _refuses(state)):
        yield BUDGET_LOW, low
    plans = [plan for plan in report.plans if plan.share is not None and plan.share >= LOW_SHARE]
    if plans:
        yield (
            PLAN_LOW,
            {f"m:{plan.backend} ({plan.window_seconds / 3600:g} h)": round(100 * (plan.share or 0)) for plan in plans},
        )


def _shares(states: Iterable[BudgetState]) -> Mapping[str, int]:
    """What is used of each budget, in percent."""
    return {f"m:{_name(state)}": _percent(state.used, state.limit) for state in states}


def _refuses(state: BudgetState) -> bool:
    """Whether a budget is spent, and jobs may fail for it: `refuse` comes before `wait`, which is the last remedy of
    every budget. Jobs that a budget holds have an incident of their own."""
    then = (*state.budget.then, OverKind.WAIT)
    may_fail = state.limit > 0 and next(kind for kind in then if kind is not OverKind.LOCAL) is OverKind.REFUSE
    return may_fail and state.is_spent and state.refused > 0


def _is_low(state: BudgetState, now: float) -> bool:
    """Whether the soft share of a budget is used, or its limit will be early."""
    soft = state.budget.soft
    if soft is None or state.limit == 0:
        return False
    window = BudgetWindow(state.window, state.ends_at, state.starts_at)
    return state.used >= soft * state.limit or warns_early(window, now, state.forecast)


def _name(state: BudgetState) -> str:
    return f"{state.budget.name}:{state.owner}" if state.owner else state.budget.name


def _percent(used: int, limit: int) -> int:
    return 100 * used // limit
