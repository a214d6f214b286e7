"""What was saved against live prices, by model and backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.ledger import LedgerEntry, ledger_total


class SavingsRow(NamedTuple):
    """A model at a backend, and the sums of its calls. `paid_as`: local, flat or metered (`-`: the configuration does
    not have the backend)."""

    paid_as: str
    total: LedgerEntry


def savings_rows(entries: Iterable[LedgerEntry], catalog: Catalog) -> list[SavingsRow]:
    """A row for each model at a backend, the one that saved the most first."""
    same: dict[tuple[str, str], list[LedgerEntry]] = {}
    for entry in entries:
        same.setdefault((entry.model, entry.backend), []).append(entry)
    totals = sorted(
        map(ledger_total, same.values()),
        key=lambda total: (-total.saved_nusd - total.cache_saved_nusd, total.model, total.backend),
    )
    return [
        SavingsRow(str(catalog.billing(total.backend)) if total.backend in catalog.backends else "-", total)
        for total in totals
    ]
