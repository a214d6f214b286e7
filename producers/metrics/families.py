"""Builds families of metrics from rows: `prometheus_client` writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from openfall.producers.metrics.label_sets import LabelSets
from openfall.router_core.state.metric_counts import MetricCounts

Rows = Iterable[tuple[tuple[str, ...], float]]


def gauge(name: str, text: str, labels: Sequence[str] = (), rows: Rows = ()) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, amount in rows:
        family.add_metric(values, amount)
    return family


def single(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return gauge(name, text, (), [((), float(value))])


def counter(name: str, text: str, labels: Sequence[str] = (), rows: Rows = ()) -> Metric:
    """`name` ends with `_total`. Rows with the same labels are added up."""
    family, sums = CounterMetricFamily(name, text, labels=labels), dict[tuple[str, ...], float]()
    for values, amount in rows:
        sums[values] = sums.get(values, 0.0) + amount
    for values, amount in sums.items():
        family.add_metric(values, amount)
    return family


HistogramRows = Iterable[tuple[tuple[str, ...], Sequence[int], float]]


def histogram(name: str, text: str, labels: Sequence[str], bounds: Sequence[float], rows: HistogramRows) -> Metric:
    """`rows`: labels, the number of observations in each bucket (the last one has no upper bound), and their sum. Rows
    with the same labels are added up."""
    family = HistogramMetricFamily(name, text, labels=labels)
    sums: dict[tuple[str, ...], tuple[list[int], float]] = {}
    for values, buckets, seconds in rows:
        known, total = sums.get(values, ([0] * (len(bounds) + 1), 0.0))
        sums[values] = [a + b for a, b in zip(known, buckets, strict=True)], total + seconds
    names = [*(f"{bound}" for bound in bounds), "+Inf"]
    for values, (buckets, seconds) in sums.items():
        below, cumulative = 0, list[tuple[str, float]]()
        for bound, amount in zip(names, buckets, strict=True):
            below += amount
            cumulative.append((bound, float(below)))
        family.add_metric(values, cumulative, sum_value=seconds)
    return family


COUNTERS = {
    "fallback": ("openfall_fallbacks_total", "Jobs that went to another model, and why.", ("from", "to", "cause")),
    "degraded": (
        "openfall_degraded_total", "What Open Fall did for jobs that no model could serve.",
        ("urgency", "reason", "remedy"),
    ),
    "replayed": ("openfall_replayed_total", "Held jobs that were queued again, and by what.", ("by",)),
    "breaker": (
        "openfall_breaker_transitions_total", "Changes of breakers, by the new state. Without a backend: of keys.",
        ("backend", "model", "state"),
    ),
    "swap": ("openfall_model_swaps_total", "Switches of a card that load a model.", ("card", "model")),
    "notification": (
        "openfall_notifications_total", "Notices and webhooks: delivered, failed tries, given up (dead).",
        ("notifier", "outcome"),
    ),
}  # fmt: skip
"""By the family of counts: name, text and labels."""


def event_counters(counts: MetricCounts, sets: LabelSets) -> Iterator[Metric]:
    """The counters whose counts Redis keeps as they are exported."""
    for family, (name, text, labels) in COUNTERS.items():
        rows = [(sets.fold(labels, at), cells.get("n", 0)) for at, cells in counts[family].items()]
        yield counter(name, text, labels, rows)
