"""What a call reports of money beside its cost, and of the limits of a subscription, as the scripts read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from openfall.router_core.deciding.savings import NONE_SAVED, Savings
from openfall.router_core.deciding.subscription_limits import MAX_RETRY_SECONDS, RETRY_SECONDS, PlanReport
from openfall.router_core.deciding.unexpected_spend import UnexpectedCall
from openfall.router_core.jobs.token_usage import NO_USAGE, Usage

_MAX_AMOUNT = 10**15
"""The most that one call adds to a sum: what a backend reports of itself must not overflow one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMoney:
    """`unexpected` None: the call was expected. `plan` None: it was not at a flat-rate backend."""

    usage: Usage = NO_USAGE
    savings: Savings = NONE_SAVED
    unexpected: UnexpectedCall | None = None
    plan: PlanReport | None = None


NO_MONEY = CallMoney()


def bounded(amount: float) -> int:
    """An amount that a sum can take."""
    return round(min(max(0, amount), _MAX_AMOUNT))


def money_sums(money: CallMoney) -> dict[str, int]:
    """What a call adds to sums of the ledger that few calls change."""
    usage, savings = money.usage, money.savings
    sums = {
        "cached": bounded(usage.cache_read_tokens or 0),
        "cache_written": bounded(usage.cache_write_tokens or 0),
        "reasoning": bounded(usage.reasoning_tokens or 0),
        "saved": max(-_MAX_AMOUNT, min(savings.live, _MAX_AMOUNT)),
        "cache_saved": max(-_MAX_AMOUNT, min(savings.cache, _MAX_AMOUNT)),
    }
    return {name: amount for name, amount in sums.items() if amount}


def encode_money(money: CallMoney) -> dict[str, Any]:
    """The arguments of a call that few calls have: see ledger.lua and subscription_plan.lua."""
    arguments: dict[str, Any] = {}
    if money.unexpected is not None:
        arguments |= {"instead_of": money.unexpected.model, "instead_why": money.unexpected.cause}
    if money.plan is not None:
        arguments["plan"] = encode_plan(money.plan)
    return arguments


def encode_plan(plan: PlanReport) -> dict[str, Any]:
    """A call at a flat-rate backend as the scripts read it: see subscription_plan.lua."""
    return {**asdict(plan), "open_for": RETRY_SECONDS, "open_for_max": MAX_RETRY_SECONDS}
