"""Reads the counts of events that outlive every process: fallbacks, breakers, waits, notifications.

`lua/lib/metrics.lua` writes them. A field has its family, its labels, and a cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_number
from openfall.router_core.state.histogram_buckets import bucket_names
from openfall.router_core.state.redis_connection import RedisConnection, pairs

OTHER = "other"
"""The label of what does not count by itself: there were too many labels, or the catalog does not know them."""

FAMILIES = {
    "breaker": ("backend", "model", "state"),
    "degraded": ("urgency", "reason", "remedy"),
    "fallback": ("from", "to", "cause"),
    "first_token": ("model", "backend"),
    "notification": ("notifier", "outcome"),
    "replayed": ("by",),
    "swap": ("card", "model"),
    "wait": ("model", "urgency"),
}
"""The labels of each family."""

Cells = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations: their number by upper bound (not cumulative; the last one has none), and their sum."""

    buckets: tuple[int, ...]
    seconds: float


def read_histogram(cells: Cells, bounds: Sequence[float]) -> Histogram:
    names = bucket_names(tuple(bounds))
    return Histogram(tuple(cells.get(name, 0) for name in names), cells.get("ms", 0) / 1000)


MetricCounts = Mapping[str, Mapping[tuple[str, ...], Cells]]
"""The cells by family and labels. A label without a value is empty."""


async def fetch_metric_counts(link: RedisConnection) -> MetricCounts:
    """All counts since the store was empty, in one round trip."""
    reply = await link.command("HGETALL", keys.METRICS)
    with link.notes.reading(keys.METRICS):
        return read_metric_counts(reply)


def read_metric_counts(reply: list[bytes]) -> MetricCounts:
    """The counts as HGETALL returns them. A family of a newer openfall is left out."""
    families: dict[str, dict[tuple[str, ...], dict[str, int]]] = {family: {} for family in FAMILIES}
    for name, amount in pairs(reply).items():
        family, *labels = name.split(" ")
        if family in FAMILIES and labels:
            cell = labels.pop()
            expected = len(FAMILIES[family])
            known = tuple("" if word == "-" else unquote(word) for word in labels)
            cells = families[family].setdefault(known if len(known) == expected else (OTHER,) * expected, {})
            cells[cell] = cells.get(cell, 0) + max(0, read_number(amount))
    return families
