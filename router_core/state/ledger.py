"""The ledger of calls: counts, times, tokens and costs by day, model, backend and group, and by caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_number, read_text
from openfall.router_core.state.delivery_counts import word
from openfall.router_core.state.histogram_buckets import COST_BOUNDS, JOB_BOUNDS, bucket, bucket_names
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.unreadable_notes import note_unreadable

MAX_ROWS = 1000
"""The rows of a day. The calls of further ones are in rows whose producer is `OTHERS`. It stands in ledger.lua too."""
OTHERS = "*"

_NANO = 1e-9
_HEAD = ("calls", "ms", "in", "out", "nusd", "unpriced", "longest", "dearest")
"""The first numbers of a row, in their order; the sums that follow have names in it."""
_ROW = re.compile(rb" ".join([rb"(\d+)"] * len(_HEAD)) + rb"(.*)", re.DOTALL)
SUMS = {
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


class CallerKind(StrEnum):
    """What a caller is: the role of a job (or its task, if it has no role), or its producer, which is the key for
    requests of the gateway."""

    ROLE = "role"
    PRODUCER = "producer"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSums:
    """Sums of calls of one day (UTC, `2026-11-21`).

    `nusd` is the known cost in nanodollars; `unpriced` counts the calls without a known price. `seconds` is the sum of
    their times.
    `probes` counts those of the calls that were health prompts of openfall itself.
    `cached_tokens` and `cache_write_tokens` are a part of the input, `reasoning_tokens` of the output.
    `unconfirmed_nusd`: what calls under a budget may have cost whose cost is not known. `saved_nusd` and
    `cache_saved_nusd`: see `Savings`.
    `as_fallback` counts the answers that were given in place of the first choice of the configuration, `left_home`
    those of them that left home: see `Substitution`.
    `seconds_buckets` count the calls by the bounds of `JOB_BOUNDS`, `cost_buckets` those of a known cost by
    `COST_BOUNDS`, the longest and the dearest last; `longest_seconds` and `dearest_nusd` are those of one call.
    """

    day: str
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
    seconds_buckets: tuple[int, ...] = (0,) * (len(JOB_BOUNDS) + 1)
    cost_buckets: tuple[int, ...] = (0,) * (len(COST_BOUNDS) + 1)
    longest_seconds: float = 0.0
    dearest_nusd: int = 0

    @property
    def usd(self) -> float:
        """The known cost for people to read; sums are made of `nusd`."""
        return self.nusd * _NANO

    @property
    def live_nusd(self) -> int:
        """What the same tokens would have cost at live prices without a cache."""
        return self.nusd + self.saved_nusd + self.cache_saved_nusd


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry(CallSums):
    """The calls of one day to one model at one backend for one group (None: no group)."""

    model: str
    backend: str
    group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerEntry(CallSums):
    """The calls of one day for one role or producer. None: without a role, or of openfall itself. `OTHERS`: of all that
    are beyond `MAX_ROWS`."""

    name: str | None


_Sums = TypeVar("_Sums", bound=CallSums)


def ledger_total(entries: Sequence[_Sums]) -> _Sums:
    """The sums of at least one entry; what they are for is that of the first."""
    sums: dict[str, Any] = {name: sum(getattr(entry, name) for entry in entries) for name in (*SUMS, "seconds")}
    for name in ("seconds_buckets", "cost_buckets"):
        sums[name] = tuple(map(sum, zip(*(getattr(entry, name) for entry in entries), strict=True)))
    for name in ("longest_seconds", "dearest_nusd"):
        sums[name] = max(getattr(entry, name) for entry in entries)
    return replace(entries[0], **sums)


def encode_entry(
    role: str | None, producer: str, seconds: float | None, nusd: int | None, sums: Mapping[str, int]
) -> dict[str, Any]:
    """For whom a call is made, its `sums` that few calls have, and the buckets of its time and of its known cost, as
    the scripts read them: see ledger.lua."""
    values = (("took", seconds, JOB_BOUNDS), ("cost", nusd, COST_BOUNDS))
    more: list[str | int] = []
    for name, value, bounds in values:
        if value is not None:
            more += (f"{name}:{bucket(value, bounds)}", 1)
    for name, amount in sums.items():
        more += (name, amount)
    return {"role": word(role), "producer": word(producer), "more": more}


def encode_substitution(substitution: Substitution) -> dict[str, Any]:
    """An answer in place of the first choice as the scripts read it: see ledger.lua."""
    names = {name: word(getattr(substitution, name)) for name in ("group", "role", "producer")}
    return {**asdict(substitution), **names}


def ledger_group(group: str | None) -> str:
    """A group as a part of the names of the ledger's sums."""
    return quote(group, safe="") if group else "-"


async def read_ledger(link: RedisConnection, days: Iterable[str]) -> list[LedgerEntry]:
    """The entries of some days by model, backend and group, in the order of the days."""
    entries = []
    for day in days:
        rows: dict[tuple[str, str, str], list[_SumsOfRow]] = {}
        for words, sums in await _read_rows(link, day):
            model, _, backend = words[0].partition("@")
            rows.setdefault((model, backend, words[1]), []).append(sums)
        for (model, backend, group), same in sorted(
            rows.items(), key=lambda row: (f"{row[0][0]}@{row[0][1]}", row[0][2])
        ):
            entries.append(LedgerEntry(day=day, model=model, backend=backend, group=_name(group), **_fields(same)))
    return entries


async def read_callers(link: RedisConnection, days: Iterable[str], kind: CallerKind) -> list[CallerEntry]:
    """The entries of some days by role or by producer, in the order of the days."""
    entries, position = [], 2 if kind is CallerKind.ROLE else 3
    for day in days:
        rows: dict[str, list[_SumsOfRow]] = {}
        for words, sums in await _read_rows(link, day):
            rows.setdefault(words[position], []).append(sums)
        entries += [CallerEntry(day=day, name=_name(name), **_fields(same)) for name, same in sorted(rows.items())]
    return entries


_SumsOfRow = Mapping[str, int]


async def _read_rows(link: RedisConnection, day: str) -> list[tuple[list[str], _SumsOfRow]]:
    """The rows of a day: model and backend, group, role, producer; and their sums. What is no row is left out."""
    rows = pairs(await link.command("HGETALL", keys.LEDGER + day))
    with link.notes.reading(keys.LEDGER + day):
        return [(words, _read_sums(text)) for name, text in rows.items() if len(words := name.split(" ")) == 4]


def _read_sums(text: bytes) -> _SumsOfRow:
    """The sums of a row, as ledger.lua writes it. A sum that is no number is 0."""
    head = _ROW.fullmatch(text)
    if head is None:
        note_unreadable("has another shape")
        return {}
    *amounts, rest = head.groups()
    more = rest.split()
    names = (*_HEAD, *map(read_text, more[::2]))
    sums = dict(zip(names, map(read_number, (*amounts, *more[1::2])), strict=False))
    return {name: amount if name in _SIGNED else max(0, amount) for name, amount in sums.items()}


def _name(owner: str) -> str | None:
    return None if owner == "-" else unquote(owner)


def _fields(rows: Sequence[_SumsOfRow]) -> dict[str, Any]:
    """The fields of an entry: the sums of rows that are alike."""

    def total(name: str) -> int:
        return sum(row.get(name, 0) for row in rows)

    return {
        **{name: total(counter) for name, counter in SUMS.items()},
        "seconds": total("ms") / 1000,
        "longest_seconds": max(row.get("longest", 0) for row in rows) / 1000,
        "dearest_nusd": max(row.get("dearest", 0) for row in rows),
        "seconds_buckets": tuple(total(f"took:{bound}") for bound in bucket_names(JOB_BOUNDS)),
        "cost_buckets": tuple(total(f"cost:{bound}") for bound in bucket_names(COST_BOUNDS)),
    }


def ledger_day(now: float) -> str:
    """The day of the ledger at a time."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"


def last_days(now: float, days: int) -> tuple[str, ...]:
    """The last days of the ledger, including today, oldest first."""
    return tuple(ledger_day(now - 86400 * back) for back in reversed(range(days)))
