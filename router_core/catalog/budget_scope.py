"""Which budgets count a call of a model at a backend, and what such a call costs at most."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.prices import ExactPrices, Prices, rate_for
from openfall.router_core.vocabulary import JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPrice:
    """The highest prices of a call: picodollars a token, nanodollars a request and a web search. The scripts read it
    as it is.

    `answer` is the limit of an answer whose request has none. Inputs of more than `long_tokens` (0: no input) cost
    `long_input` and `long_output`. With `priority` 0 the price of that service tier is not known."""

    input: int
    output: int
    request: int
    web_search: int
    answer: int
    long_tokens: int = 0
    long_input: int = 0
    long_output: int = 0
    priority: int = 0
    priority_input: int = 0
    priority_output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOwner:
    """The group, role or task of a call. None: it has none."""

    group: str | None = None
    role: str | None = None
    task: str | None = None
    producer: str = ""


NO_OWNER = CallOwner()
"""A call without an owner."""


def counts_owner(budget: Budget, owner: CallOwner) -> bool:
    """Whether a budget counts calls for an owner."""
    conditions = ((getattr(budget, name), getattr(owner, name)) for name in ("group", "role", "task", "producer"))
    return all(wanted is None or wanted == value for wanted, value in conditions)


def owner_in(budget: Budget, owner: CallOwner) -> str:
    """Whose calls a budget for `each` counts apart, as its windows name it; empty: it counts all together."""
    return "" if budget.each is None else getattr(owner, budget.each) or "-"


def all_budgets(catalog: Catalog) -> tuple[Budget, ...]:
    """The budgets of the file, and those of groups with a `daily_usd`."""
    daily = (
        Budget(name=f"group-{group.name}"[:63], usd=group.daily_usd, group=group.name)
        for group in catalog.groups
        if group.daily_usd is not None
    )
    return (*catalog.budgets, *daily)


def budgets_of(catalog: Catalog, backend: str, alias: str) -> tuple[str, ...]:
    """The budgets that may count calls of a model at a backend. None does if its calls cost nothing."""
    if not catalog.is_metered(backend):
        return ()
    return tuple(budget.name for budget in all_budgets(catalog) if _counts(catalog, budget, backend, alias))


def backend_budgets(catalog: Catalog, backend: str) -> tuple[str, ...]:
    """The budgets that count requests to a backend beside the queue, which are for no model."""
    if not catalog.is_metered(backend):
        return ()
    return tuple(budget.name for budget in all_budgets(catalog) if _counts(catalog, budget, backend, None))


def is_counted(catalog: Catalog, name: str, alias: str) -> bool:
    """Whether a budget may count calls of a model."""
    spec = catalog.models.get(alias)
    return spec is not None and any(name in budgets_of(catalog, backend, alias) for backend in spec.backends)


def call_price(catalog: Catalog, alias: str) -> CallPrice | None:
    """What a call of a model costs at most; None: a price is not known."""
    spec = catalog.models[alias]
    prices, embeds = spec.usd_per_mtok or Prices(), spec.kind is JobKind.EMBEDDING
    if embeds and prices.output is None:
        prices = prices.model_copy(update={"output": 0.0})  # a vector has no tokens
    live = _highest(rate_for(prices, "", 0))
    if live is None:
        return None
    above = prices.above
    long = _highest(rate_for(prices, "", above.tokens + 1)) if above is not None else None
    priority = _highest(rate_for(prices, "priority", 0))
    return CallPrice(
        input=live[0],
        output=live[1],
        request=live[2].request,
        web_search=live[2].web_search,
        answer=0 if embeds else spec.max_tokens or spec.context,
        long_tokens=above.tokens if above is not None and long is not None else 0,
        long_input=long[0] if long is not None else 0,
        long_output=long[1] if long is not None else 0,
        priority=int(priority is not None),
        priority_input=priority[0] if priority is not None else 0,
        priority_output=priority[1] if priority is not None else 0,
    )


def _highest(rate: ExactPrices | None) -> tuple[int, int, ExactPrices] | None:
    """The highest price of an input token and that of an output token; None: one is not known."""
    if rate is None or rate.input is None or rate.output is None:
        return None
    inputs = (rate.input, rate.cache_read, rate.cache_write, rate.cache_write_1h)
    return max(price for price in inputs if price is not None), rate.output, rate


def _counts(catalog: Catalog, budget: Budget, backend: str, alias: str | None) -> bool:
    if budget.model not in (None, alias) or budget.backend not in (None, backend):
        return False
    if budget.key_of is None:
        return True
    return not catalog.credentials(budget.key_of).keys().isdisjoint(catalog.credentials(backend))
