"""Builds families of metrics from rows: `prometheus_client` writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

Rows = Iterable[tuple[tuple[str, ...], float]]


def gauge(name: str, text: str, labels: Sequence[str] = (), rows: Rows = ()) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, amount in rows:
        family.add_metric(values, amount)
    return family


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
