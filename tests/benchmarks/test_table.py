"""What a benchmark claims is arithmetic over samples: medians, ratios, and rates of the steady part of a run."""

from __future__ import annotations

import pytest

from benchmarks.latency import quantile
from benchmarks.processes import BenchmarkError
from benchmarks.run_environment import Sample
from benchmarks.table import Row, Sheet, figure
from benchmarks.throughput import between


def sample(at: float, answered: float) -> Sample:
    return Sample(at=at, answered=answered, worker_cpu=answered * 2e-4, valkey_cpu=0, upstream_cpu=at / 2, rss=10**6)


def test_a_rate_is_taken_from_the_steady_part_of_a_run() -> None:
    slow_ends = [sample(0, 0), sample(5, 100), sample(6, 500), sample(7, 900), sample(30, 1000)]
    figures = between(slow_ends, 1000)
    assert figures["rate"] == pytest.approx(400)
    assert figures["worker_cpu"] == pytest.approx(200)
    assert figures["upstream_load"] == pytest.approx(50)


def test_a_run_too_short_to_measure_says_so() -> None:
    with pytest.raises(BenchmarkError, match="more jobs"):
        between([sample(1, 1000)], 1000)


def test_a_ratio_is_to_the_named_row_and_missing_when_that_has_no_figure() -> None:
    fast, slow = Row("ours", {"rate": figure([9, 10, 11])}), Row("theirs", {"rate": figure([5])})
    sheet = Sheet("Throughput", {"rate": "jobs/s"}, [fast, slow], "rate", "ours")
    assert sheet.ratio_of(slow) == pytest.approx(0.5)
    broken = Sheet("Throughput", {"rate": "jobs/s"}, [Row("ours", {}, "no such worker"), slow], "rate", "ours")
    assert broken.ratio_of(slow) is None
    assert broken.as_json()["rows"][0]["failed"] == "no such worker"


def test_a_quantile_is_a_value_that_occurred() -> None:
    assert quantile([5, 1, 3, 2, 4], 0.5) == 3
    assert quantile([1, 2], 0.99) == 2
