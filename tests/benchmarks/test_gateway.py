"""What the benchmark of the gateway claims is arithmetic over measured times."""

from __future__ import annotations

import pytest

from benchmarks.gateway import ADDED, request_sheet
from benchmarks.gateway_endpoints import DIRECT, GATEWAY, PROXY


def test_what_the_gateway_adds_is_its_time_less_that_of_the_upstream_asked_directly() -> None:
    direct = {"first": [1.0, 1.0, 9.0], "whole": [2.0, 2.0, 2.0]}
    through = {"first": [4.0, 4.0, 29.0], "whole": [7.0, 7.0, 8.0]}
    sheet = request_sheet({DIRECT: direct, GATEWAY: through})
    added = next(row for row in sheet.rows if row.name == ADDED + GATEWAY)
    medians = {key: value.median for key, value in added.figures.items() if value is not None}
    assert medians == {"first_p50": 3.0, "first_p99": 20.0, "whole_p50": 5.0}
    assert sheet.ratio_of(sheet.rows[1]) == pytest.approx(4.0)


def test_a_proxy_that_cannot_be_installed_is_a_row_that_says_why() -> None:
    times = {"first": [1.0], "whole": [1.0]}
    both = request_sheet({DIRECT: times, GATEWAY: times, PROXY: times})
    alone = request_sheet({DIRECT: times, GATEWAY: times}, missing="could not install the packages")
    assert [row.name for row in both.rows] == [DIRECT, GATEWAY, PROXY, ADDED + GATEWAY, ADDED + PROXY]
    assert [(row.name, row.failed) for row in alone.rows if row.failed] == [(PROXY, "could not install the packages")]
