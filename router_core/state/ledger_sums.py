"""What was used: sums of the ledger by day, model, backend or group."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from openfall.router_core.state.ledger import LedgerEntry, ledger_total


class UsageKey(StrEnum):
    """What the rows of a table of usage are for."""

    MODEL = "model"
    BACKEND = "backend"
    GROUP = "group"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What one model, backend, group (None: calls of no group), day or month (UTC) has used. `calls` counts each
    attempt, and `answered` those that did not fail. `probes` of them were health prompts of openfall itself. `nusd` is
    the known cost in nanodollars; the cost of `unpriced` calls is not known, and `unconfirmed_nusd` is what those of
    them that a budget counts may have cost. `saved_nusd`: less than at live prices; `cache_saved_nusd`: by caches of
    providers."""

    name: str | None
    calls: int
    answered: int
    failed: int
    probes: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    nusd: int
    unpriced: int
    unconfirmed_nusd: int
    saved_nusd: int
    cache_saved_nusd: int
    as_fallback: int
    left_home: int
    mean_seconds: float | None


_COPIED = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "nusd",
    "unpriced",
    "unconfirmed_nusd",
    "saved_nusd",
    "cache_saved_nusd",
    "as_fallback",
    "left_home",
)
"""Sums of the ledger that a row has as they are."""


def usage_rows(entries: Iterable[LedgerEntry], by: UsageKey) -> list[UsageRow]:
    """A row for each model, backend or group, the dearest first; or for each day or month, in their
    order."""
    same: dict[str | None, list[LedgerEntry]] = {}
    for entry in entries:
        name = entry.day[: len("2026-11")] if by is UsageKey.MONTH else getattr(entry, by)
        same.setdefault(name, []).append(entry)
    rows = [_row(name, ledger_total(members)) for name, members in same.items()]
    if by in (UsageKey.DAY, UsageKey.MONTH):
        return sorted(rows, key=lambda row: row.name or "")
    return sorted(rows, key=lambda row: (-row.nusd, -row.calls, row.name or ""))


def _row(name: str | None, total: LedgerEntry) -> UsageRow:
    return UsageRow(
        name=name,
        calls=total.calls,
        answered=max(0, total.calls - total.failed),
        failed=total.failed,
        probes=total.probes,
        mean_seconds=round(total.seconds / total.calls, 3) if total.calls else None,
        **{name: getattr(total, name) for name in _COPIED},
    )
