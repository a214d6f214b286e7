"""The ledger of calls: counts, times, tokens and costs by day, model, backend and group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import quote, unquote

from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_number
from openfall.router_core.state.redis_connection import RedisConnection, pairs

LEDGER_TTL_SECONDS = 100 * 86400
"""How long a day of the ledger is kept."""

_NANO = 1e-9
_SUMS = {
    "calls": "calls",
    "failed": "failed",
    "probes": "probes",
    "as_fallback": "as_fallback",
    "left_home": "left_home",
    "input_tokens": "in",
    "output_tokens": "out",
    "cached_tokens": "cached",
    "cache_write_tokens": "cache_written",
    "reasoning_tokens": "reasoning",
    "nusd": "nusd",
    "unpriced": "unpriced",
    "unconfirmed_nusd": "unconfirmed",
    "saved_nusd": "saved",
    "cache_saved_nusd": "cache_saved",
}
"""The sums of an entry, and their names in Redis."""
_SIGNED = frozenset({"saved", "cache_saved"})
"""Sums that may be below 0: a dearer service tier saves less than nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """The calls of one day (UTC, `2026-11-21`) to one model at one backend for one group (None: no group).

    `nusd` is the known cost in nanodollars; `unpriced` counts the calls without a known price. `seconds` is the sum of
    their times.
    `probes` counts those of the calls that were health prompts of openfall itself.
    `cached_tokens` and `cache_write_tokens` are a part of the input, `reasoning_tokens` of the output.
    `unconfirmed_nusd`: what calls under a budget may have cost whose cost is not known. `saved_nusd` and
    `cache_saved_nusd`: see `Savings`.
    `as_fallback` counts the answers that were given in place of the first choice of the configuration, `left_home`
    those of them that left home: see `Substitution`.
    """

    day: str
    model: str
    backend: str
    group: str | None
    calls: int = 0
    failed: int = 0
    probes: int = 0
    as_fallback: int = 0
    left_home: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    nusd: int = 0
    unpriced: int = 0
    unconfirmed_nusd: int = 0
    saved_nusd: int = 0
    cache_saved_nusd: int = 0

    @property
    def usd(self) -> float:
        """The known cost for people to read; sums are made of `nusd`."""
        return self.nusd * _NANO


def ledger_total(entries: Sequence[LedgerEntry]) -> LedgerEntry:
    """The sums of at least one entry; day, model, backend and group are those of the first."""
    sums: dict[str, Any] = {name: sum(getattr(entry, name) for entry in entries) for name in _SUMS}
    return replace(entries[0], **sums, seconds=sum(entry.seconds for entry in entries))


def encode_substitution(substitution: Substitution) -> dict[str, Any]:
    """An answer in place of the first choice as the scripts read it: see ledger.lua."""
    return {**asdict(substitution), "group": ledger_group(substitution.group), "ledger_ttl_s": LEDGER_TTL_SECONDS}


def ledger_group(group: str | None) -> str:
    """A group as a part of the names of the ledger's sums."""
    return quote(group, safe="") if group else "-"


async def read_ledger(link: RedisConnection, days: Iterable[str]) -> list[LedgerEntry]:
    """The entries of some days, in the order of the days."""
    entries = []
    for day in days:
        rows: dict[tuple[str, str], dict[str, int]] = {}
        for name, value in pairs(await link.command("HGETALL", keys.LEDGER + day)).items():
            target, group, counter = (*name.split(" "), "", "")[:3]
            if counter:
                amount = read_number(value)
                rows.setdefault((target, group), {})[counter] = amount if counter in _SIGNED else max(0, amount)
        entries += [_entry(day, *key, sums) for key, sums in sorted(rows.items())]
    return entries


def _entry(day: str, target: str, group: str, sums: dict[str, int]) -> LedgerEntry:
    model, _, backend = target.partition("@")
    return LedgerEntry(
        day=day,
        model=model,
        backend=backend,
        group=None if group == "-" else unquote(group),
        seconds=sums.get("ms", 0) / 1000,
        **{name: sums.get(counter, 0) for name, counter in _SUMS.items()},
    )
