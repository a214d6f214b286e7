"""Amounts for people: money, prices, times, counts."""

from __future__ import annotations

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing


def format_usd(usd: float | None) -> str:
    """`$0`, `$0.000421`, `$0.105`, `$12.50`; `$?` if it is unknown, which is not 0. Three digits: a few
    amounts add up to their sum."""
    if usd is None:
        return "$?"
    if usd == 0:
        return "$0"
    if usd < 1e-7:
        return "<$0.0000001"
    if usd < 0.0001:
        return f"${usd:.7f}".rstrip("0")
    return f"${usd:.2f}" if usd >= 1 or usd == round(usd, 1) else f"${usd:.3g}"


def format_seconds(seconds: float) -> str:
    """`12.3s`, and below a tenth of a second `0.034s`."""
    return f"{seconds:.3f}s" if 0 < seconds < 0.1 else f"{seconds:.1f}s"


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


def describe_waiting(waiting: int) -> str:
    """`1 job waits`, `3 jobs wait`. Empty: none does. Held jobs have a line of their own."""
    return f"{waiting:,} {'job waits' if waiting == 1 else 'jobs wait'}" if waiting else ""
