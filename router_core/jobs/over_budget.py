"""A call that was not made because it does not fit into a budget."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from openfall.router_core.catalog.budget_windows import NEVER_ENDS


class OverCause(StrEnum):
    """Why a call does not fit."""

    SPENT = "spent"  # what is spent, or may have been billed, leaves too little
    RESERVED = "reserved"  # calls in flight have reserved the rest: it may fit when they end
    ABOVE_LIMIT = "above_limit"  # it may cost more than the whole budget, as it is now
    UNPRICED = "unpriced"  # the price of its model is not known


@dataclass(frozen=True, slots=True)
class OverBudget:
    """The budget that a call does not fit into, its sums in nanodollars, and the bound of the call. `until`: when the
    budget resets, in epoch seconds. `budget` may end in `:` and the group, producer or role that it is of."""

    budget: str
    until: float
    cause: OverCause
    spent: int
    reserved: int
    unconfirmed: int
    limit: int
    bound: int

    @property
    def name(self) -> str:
        """The budget as the configuration has it."""
        return self.budget.partition(":")[0]

    @property
    def detail(self) -> str:
        """Why the call does not fit, for people: the budget, its limit, what is used, when it renews."""
        bound, limit = format_nanodollars(self.bound), format_nanodollars(self.limit)
        if self.cause is OverCause.UNPRICED:
            return f"budget {self.budget}: no price of this model is known; set its usd_per_mtok"
        if self.cause is OverCause.ABOVE_LIMIT:
            return f"budget {self.budget}: this call may cost {bound}, and the whole limit is {limit}"
        used = f"{format_nanodollars(self.spent)} of its {limit} are spent"
        used += f", {format_nanodollars(self.unconfirmed)} may have been billed" if self.unconfirmed else ""
        used += f", {format_nanodollars(self.reserved)} are reserved by calls in flight" if self.reserved else ""
        renews = f", it renews at {_utc(self.until)}" if self.until < NEVER_ENDS else ""
        return f"budget {self.budget}: {used}{renews}, and this call may cost {bound}"

    @property
    def remedy(self) -> str:
        """What people can do, as a sentence. Empty: `detail` has it."""
        command = f"openfall budgets raise {self.name} USD"
        match self.cause:
            case OverCause.UNPRICED:
                return ""
            case OverCause.ABOVE_LIMIT:
                return f"Set a smaller max_tokens, or raise the budget: {command}"
            case _:
                wait = "Wait until it renews, or raise it" if self.until < NEVER_ENDS else "It does not renew. Raise it"
                return f"{wait}: {command}"

    @property
    def message(self) -> str:
        """`detail` and `remedy`."""
        return f"{self.detail}. {self.remedy}" if self.remedy else self.detail


def _utc(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def describe_sums(used: int, limit: int) -> str:
    """What is used of a limit, in nanodollars, for people."""
    return f"{format_nanodollars(used)} of {format_nanodollars(limit)}"


def format_nanodollars(nanodollars: int) -> str:
    """`$0.0303`, `$12.50`: a sum of a budget for people."""
    usd = nanodollars / 1e9
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.4g}"
