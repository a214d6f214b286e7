"""The memory of graphics cards over time: a day by the minute, a year by the hour. Bounded, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import isfinite

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_number, read_text
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.unreadable_notes import note_unreadable

DAY_SECONDS = 86_400.0
_MB = 1024


class MemoryPeriod(Enum):
    """The length of the periods of a history: (name, seconds, the number of periods that are kept)."""

    MINUTE = ("minute", 60, 24 * 60)
    HOUR = ("hour", 3600, 366 * 24)

    @property
    def seconds(self) -> int:
        return self.value[1]

    @property
    def kept(self) -> int:
        return self.value[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """The memory of a card in a period that began at `at` (epoch seconds). `models_gb` is in use by models of openfall,
    `others_gb` by others; both are means. `peak_gb` is the highest sum of both. `total_gb` 0: unknown."""

    at: float
    models_gb: float
    others_gb: float
    peak_gb: float
    total_gb: float


def period_of(span_seconds: float) -> MemoryPeriod:
    """The periods in which a time is read."""
    return MemoryPeriod.MINUTE if span_seconds <= DAY_SECONDS else MemoryPeriod.HOUR


async def note_card_memory(
    link: RedisConnection, card: str, models_gb: float, others_gb: float, total_gb: float
) -> None:
    """Note how much memory of a card is in use now. `total_gb` 0: unknown."""
    megabytes = {"models_mb": models_gb * _MB, "others_mb": others_gb * _MB, "total_mb": total_gb * _MB}
    periods = [{"name": period.value[0], "seconds": period.seconds, "fields": period.kept} for period in MemoryPeriod]
    await link.script("card_memory", {"card": card, "periods": periods} | megabytes)


async def fetch_card_memory(
    link: RedisConnection, cards: Iterable[str], span_seconds: float, now: float
) -> dict[str, list[MemoryUse]]:
    """By card its memory in the last `span_seconds` before `now`, the oldest period first: by the minute for up to a
    day, by the hour for more. Periods without a sample are left out: no worker managed the card then, or its use was
    not known."""
    period = period_of(span_seconds)
    last = int(now) // period.seconds
    number = min(period.kept, int(span_seconds // period.seconds) + 1)
    wanted = range(last - number + 1, last + 1)
    fields = [each % period.kept for each in wanted]
    memory = {}
    for card in cards:
        entries = await link.command("HMGET", f"{keys.CARD_MEMORY}{card}:{period.value[0]}", *fields)
        with link.notes.reading(f"{keys.CARD_MEMORY}{card}:{period.value[0]}"):
            uses = (_read(entry, each, period) for each, entry in zip(wanted, entries, strict=True))
            memory[card] = [use for use in uses if use is not None]
    return memory


def _read(entry: bytes | None, number: int, period: MemoryPeriod) -> MemoryUse | None:
    """The use in a period. None: there was no sample, or the entry is of a day or a year ago."""
    words = read_text(entry).split()
    if entry is not None and len(words) != 6:
        note_unreadable("has another shape")
    if len(words) != 6 or read_number(words[0].encode()) != number:
        return None
    try:
        numbers = [float(word) / _MB for word in words[1:5]]
    except ValueError:
        note_unreadable("is no number")
        return None
    if not all(map(isfinite, numbers)):
        return None
    models, others, total, peak = numbers
    return MemoryUse(
        at=float(number * period.seconds), models_gb=models, others_gb=others, peak_gb=peak, total_gb=total
    )
