"""What a call saved against the live prices of metered models. Sums of it are what `openfall spend --saved` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.deciding.cost import usage_cost
from openfall.router_core.jobs.token_usage import Usage


@dataclass(frozen=True, slots=True)
class Savings:
    """Nanodollars that a call saved. `live`: against the live price of a metered model; below 0 if a dearer service
    tier was used. `cache`: because the provider found a part of the input in its cache."""

    live: int = 0
    cache: int = 0


NONE_SAVED = Savings()


def call_savings(
    catalog: Catalog, configured: Sequence[str], called: tuple[str, str], usage: Usage, cost: int | None
) -> Savings:
    """What a call of a model at a backend saved. `configured`: the chain as the configuration has it.

    - A call that costs nothing saved what its tokens would have cost at the first metered model of the chain.
    - A metered call of another service tier saved the difference to the live price of its own model.
    - What the provider itself charges is compared with nothing: its live price is not known.
    """
    model, backend = called
    if cost is None or usage.cost_nusd is not None:
        return NONE_SAVED
    if not catalog.is_metered(backend):
        tokens = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
        return Savings(live=usage_cost(_reference_prices(catalog, configured), tokens) or 0)
    prices = catalog.models[model].usd_per_mtok or Prices()
    at_live = usage_cost(prices, replace(usage, service_tier="")) if usage.service_tier else cost
    without_cache = usage_cost(prices, replace(usage, cache_read_tokens=None)) if usage.cache_read_tokens else cost
    return Savings(
        live=0 if at_live is None or not cost else at_live - cost,
        cache=0 if without_cache is None or not cost else without_cache - cost,
    )


def _reference_prices(catalog: Catalog, configured: Sequence[str]) -> Prices:
    """The prices of the first model of a chain that is paid by the token; unknown ones without such a model."""
    for alias in configured:
        spec = catalog.models.get(alias)
        if spec is not None and catalog.is_metered(spec.backends[0]):
            return spec.usd_per_mtok or Prices()
    return Prices()
