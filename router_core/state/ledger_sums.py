"""What was used: sums of the ledger by model, backend, group, role, producer, day or month."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from openfall.router_core.state.histogram_buckets import COST_BOUNDS, JOB_BOUNDS, quantile
from openfall.router_core.state.ledger import (
    SUMS,
    CallerEntry,
    CallerKind,
    CallSums,
    LedgerEntry,
    ledger_total,
    read_callers,
    read_ledger,
)
from openfall.router_core.state.redis_connection import RedisConnection


class UsageKey(StrEnum):
    """What the rows of a table of usage are for."""

    MODEL = "model"
    BACKEND = "backend"
    GROUP = "group"
    ROLE = CallerKind.ROLE.value
    PRODUCER = CallerKind.PRODUCER.value
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What one model, backend, group (None: calls of no group), role or producer (see `CallerEntry`), day or month
    (UTC) has used. `calls` counts each attempt, and `answered` those that did not fail. `probes` of them were health
    prompts of openfall itself. `nusd` is the known cost in nanodollars; the cost of `unpriced` calls is not known, and
    `unconfirmed_nusd` is what those of them that a budget counts may have cost. `saved_nusd`: less than at live prices;
    `cache_saved_nusd`: by caches of providers. The quantiles of the seconds and of the known cost of a call are
    estimates within buckets. None: there is no value."""

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
    p50_seconds: float | None
    p95_seconds: float | None
    p50_nusd: int | None
    p95_nusd: int | None


async def fetch_usage(link: RedisConnection, days: Iterable[str], by: UsageKey) -> list[UsageRow]:
    """The usage of some days (UTC): see `usage_rows`."""
    if by in (UsageKey.ROLE, UsageKey.PRODUCER):
        return usage_rows(await read_callers(link, days, CallerKind(by.value)), by)
    return usage_rows(await read_ledger(link, days), by)


def usage_rows(entries: Iterable[LedgerEntry] | Iterable[CallerEntry], by: UsageKey) -> list[UsageRow]:
    """A row for each model, backend, group, role or producer, the dearest first; or for each day or month, in their
    order. The entries of callers have rows by role or producer, those of the ledger all others."""
    same: dict[str | None, list[CallSums]] = {}
    for entry in entries:
        if by is UsageKey.MONTH:
            name: str | None = entry.day[: len("2026-11")]
        else:
            name = entry.name if isinstance(entry, CallerEntry) else getattr(entry, by)
        same.setdefault(name, []).append(entry)
    rows = [_row(name, ledger_total(members)) for name, members in same.items()]
    if by in (UsageKey.DAY, UsageKey.MONTH):
        return sorted(rows, key=lambda row: row.name or "")
    return sorted(rows, key=lambda row: (-row.nusd, -row.calls, row.name or ""))


def _row(name: str | None, total: CallSums) -> UsageRow:
    sums = {name: getattr(total, name) for name in SUMS}
    times = (total.seconds_buckets, JOB_BOUNDS, total.longest_seconds)
    costs = (total.cost_buckets, COST_BOUNDS, float(total.dearest_nusd))
    p50, p95, cost50, cost95 = (quantile(*values, share) for values in (times, costs) for share in (0.5, 0.95))
    return UsageRow(
        name=name,
        answered=max(0, total.calls - total.failed),
        mean_seconds=round(total.seconds / total.calls, 3) if total.calls else None,
        p50_seconds=None if p50 is None else round(p50, 3),
        p95_seconds=None if p95 is None else round(p95, 3),
        p50_nusd=None if cost50 is None else round(cost50),
        p95_nusd=None if cost95 is None else round(cost95),
        **sums,
    )
