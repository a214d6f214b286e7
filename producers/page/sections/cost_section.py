"""What calls have cost today, against the budgets, and what was saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.amount_text import format_cost, format_usd, plural
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.deciding.subscription_limits import LOW_SHARE
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.ledger_sums import UsageKey, usage_rows
from openfall.router_core.state.subscription_plans import PlanState

MAX_BUDGETS, MAX_PLANS, MAX_MODELS = 12, 12, 5
NEARLY = 0.8
"""A budget is nearly used up from this share on."""


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A window of a budget. `share` is what is spent or may have been billed, `reserved_share` of calls in flight."""

    state: BudgetState

    @property
    def name(self) -> str:
        return self.state.budget.name + (f" · {self.state.owner}" if self.state.owner else "")

    @property
    def percent(self) -> float:
        return _percent(self.state.used, self.state.limit)

    @property
    def reserved_percent(self) -> float:
        return min(100.0 - self.percent, _percent(self.state.reserved, self.state.limit))

    @property
    def tone(self) -> str:
        if self.state.is_spent:
            return "bad"
        return "warn" if self.percent >= 100 * NEARLY else "good"

    @property
    def text(self) -> str:
        return f"{format_usd(self.state.used / 1e9)} of {format_usd(self.state.limit / 1e9)}{self._spent}"

    @property
    def _spent(self) -> str:
        if not self.state.is_spent:
            return ""
        return f", spent: the next call needs {format_usd(self.state.needed / 1e9)}" if self.state.needed else ", spent"

    @property
    def ends_at(self) -> float | None:
        """When it resets; None: never."""
        return None if self.state.window == "ever" else self.state.ends_at


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A window of a subscription. Until its provider names the used share, or calls have shown its cap, only the calls
    in it are known."""

    state: PlanState

    @property
    def name(self) -> str:
        return f"{self.state.backend} · {self.state.window_seconds / 3600:g} h"

    @property
    def percent(self) -> float:
        return min(100.0, 100 * (self.state.share or 0.0))

    @property
    def tone(self) -> str:
        return "bad" if self.percent >= 100 else "warn" if self.percent >= 100 * LOW_SHARE else "good"

    @property
    def text(self) -> str:
        key = f"key {self.state.number}, " if self.state.number > 1 else ""
        if self.state.share is not None:
            return f"subscription, {key}{self.percent:.0f} % used"
        calls = "" if self.state.calls is None else f"{plural(self.state.calls, 'call')}, "
        return f"subscription, {key}{calls}its limit is not known yet"

    @property
    def is_known(self) -> bool:
        return self.state.share is not None


def _percent(part: int, whole: int) -> float:
    return min(100.0, 100 * part / whole) if whole else 100.0


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    entries, budgets = snapshot.sources.get("ledger", ()), snapshot.sources.get("budgets", ())
    models = usage_rows(entries, UsageKey.MODEL)
    rows = sorted(map(BudgetRow, budgets), key=lambda row: -row.percent)
    saved = sum(row.saved_nusd for row in models)
    return {
        "spent": format_cost(sum(row.nusd for row in models) / 1e9, sum(row.unpriced for row in models)),
        "saved": format_usd(saved / 1e9) if saved > 0 else "",
        "calls": sum(row.calls for row in models),
        "budgets": rows[:MAX_BUDGETS],
        "plans": [PlanRow(plan) for plan in snapshot.sources.get("plans", ())][:MAX_PLANS],
        "more": max(0, len(rows) - MAX_BUDGETS),
        "models": [(row.name, row.calls, format_cost(row.nusd / 1e9, row.unpriced)) for row in models[:MAX_MODELS]],
    }
