"""Amounts for people: money, prices, counts."""

from __future__ import annotations

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing


def format_usd(usd: float | None) -> str:
    """`$0`, `$0.0004`, `$12.50`; `$?` if it is unknown, which is not 0."""
    if usd is None:
        return "$?"
    if usd == 0:
        return "$0"
    if usd < 1e-7:
        return "<$0.0000001"
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.2g}" if usd >= 0.0001 else f"${usd:.7f}".rstrip("0")


def format_cost(usd: float, unpriced: int) -> str:
    """The known cost, and the number of calls without a known price."""
    calls = f"{unpriced} {'call' if unpriced == 1 else 'calls'} of unknown cost"
    return format_usd(usd) + (f" + {calls}" if unpriced else "")


def format_price(catalog: Catalog, model: str, backend: str) -> str:
    """The price of a million tokens in and out, in US dollars: `5+25`, `?` for what is not known; `local` or `flat`."""
    billing, prices = catalog.billing(backend), catalog.models[model].usd_per_mtok
    if billing is not Billing.METERED:
        return str(billing)
    prices_text = (
        "?" if candidate is None else f"{candidate:g}"
        for candidate in (prices and prices.input, prices and prices.output)
    )
    return "+".join(prices_text)


def plural(count: int, noun: str) -> str:
    """`1 job`, `3 jobs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
