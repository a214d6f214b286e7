"""The ledger of calls: counts, times, tokens and costs by day, model, backend and group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection, pairs

_NANO = 1e-9
_SUMS = ("calls", "failed", "fallbacks", "seconds", "input_tokens", "output_tokens", "usd", "unpriced")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """The calls of one day (UTC, `2026-11-21`) to one model at one backend for one group (None: no group).

    `usd` is the known cost; `unpriced` counts the calls without a known price. `seconds` is the sum of their times.
    `fallbacks` counts the failed calls that another model followed.
    """

    day: str
    model: str
    backend: str
    group: str | None
    calls: int = 0
    failed: int = 0
    fallbacks: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0


def ledger_total(entries: Sequence[LedgerEntry]) -> LedgerEntry:
    """The sums of at least one entry; day, model, backend and group are those of the first."""
    sums = {name: sum(getattr(entry, name) for entry in entries) for name in _SUMS}
    return replace(entries[0], **sums)


async def read_ledger(link: RedisConnection, days: Iterable[str]) -> list[LedgerEntry]:
    """The entries of some days, in the order of the days."""
    entries = []
    for day in days:
        rows: dict[tuple[str, str], dict[str, int]] = {}
        for name, value in pairs(await link.command("HGETALL", keys.LEDGER + day)).items():
            target, group, counter = name.split(" ")
            rows.setdefault((target, group), {})[counter] = int(value)
        entries += [_entry(day, *key, sums) for key, sums in sorted(rows.items())]
    return entries


def _entry(day: str, target: str, group: str, sums: dict[str, int]) -> LedgerEntry:
    model, _, backend = target.partition("@")
    return LedgerEntry(
        day=day,
        model=model,
        backend=backend,
        group=None if group == "-" else unquote(group),
        calls=sums.get("calls", 0),
        failed=sums.get("failed", 0),
        fallbacks=sums.get("fallbacks", 0),
        seconds=sums.get("ms", 0) / 1000,
        input_tokens=sums.get("in", 0),
        output_tokens=sums.get("out", 0),
        usd=sums.get("nusd", 0) * _NANO,
        unpriced=sums.get("unpriced", 0),
    )
