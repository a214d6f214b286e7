"""What was called, for whom, how it went and what it cost: sums by day, model, backend and group."""

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

    `usd` is what is known to have been spent; `unpriced` counts the calls of which nobody knows what they cost.
    `seconds` is the sum of their times; `fallbacks` how many of them were followed by another model.
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
    """One entry with the sums of some, at least one; its day, model, backend and group are those of the first."""
    sums = {name: sum(getattr(one, name) for one in entries) for name in _SUMS}
    return replace(entries[0], **sums)


async def read_ledger(link: RedisConnection, days: Iterable[str]) -> list[LedgerEntry]:
    """The entries of some days, in their order."""
    entries = []
    for day in days:
        rows: dict[tuple[str, str], dict[str, int]] = {}
        for name, value in pairs(await link.command("HGETALL", keys.LEDGER + day)).items():
            place, group, what = name.split(" ")
            rows.setdefault((place, group), {})[what] = int(value)
        entries += [_entry(day, *key, sums) for key, sums in sorted(rows.items())]
    return entries


def _entry(day: str, place: str, group: str, sums: dict[str, int]) -> LedgerEntry:
    model, _, backend = place.partition("@")
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
