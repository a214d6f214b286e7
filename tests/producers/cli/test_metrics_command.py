"""`openfall metrics` prints what the gateway exports."""

from __future__ import annotations

from tests.producers.cli.conftest import Run


def test_metrics_are_printed_in_the_format_of_prometheus_and_of_openmetrics(openfall: Run) -> None:
    plain, other = openfall("metrics").stdout, openfall("metrics", "--openmetrics").stdout
    assert "\nopenfall_up 1.0\n" in plain
    assert "# TYPE openfall_jobs_total counter" in plain
    assert "# TYPE openfall_jobs counter" in other
    assert other.endswith("# EOF\n")
