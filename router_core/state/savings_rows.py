"""What was saved against live prices, by model and backend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.ledger import LedgerEntry, ledger_total


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsRow:
    """A model at a backend. `paid_as`: local, flat or metered (`-`: the configuration does not have the backend).
    `live_nusd` is what the same tokens would have cost at live prices without a cache; it is spent + saved +
    cache_saved. Nanodollars."""

    model: str
    backend: str
    paid_as: str
    calls: int
    live_nusd: int
    nusd: int
    saved_nusd: int
    cache_saved_nusd: int


def savings_rows(entries: Iterable[LedgerEntry], catalog: Catalog) -> list[SavingsRow]:
    """A row for each model at a backend, the one that saved the most first."""
    same: dict[tuple[str, str], list[LedgerEntry]] = {}
    for entry in entries:
        same.setdefault((entry.model, entry.backend), []).append(entry)
    rows = []
    for (model, backend), members in same.items():
        total = ledger_total(members)
        paid_as = str(catalog.billing(backend)) if backend in catalog.backends else "-"
        rows.append(
            SavingsRow(
                model=model,
                backend=backend,
                paid_as=paid_as,
                calls=total.calls,
                live_nusd=total.nusd + total.saved_nusd + total.cache_saved_nusd,
                nusd=total.nusd,
                saved_nusd=total.saved_nusd,
                cache_saved_nusd=total.cache_saved_nusd,
            )
        )
    return sorted(rows, key=lambda row: (-row.saved_nusd - row.cache_saved_nusd, row.model, row.backend))
