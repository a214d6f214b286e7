"""What the benchmark of the gateway claims is arithmetic over measured times."""

from __future__ import annotations

import pytest

from benchmarks.gateway import ADDED, DIRECT, GATEWAY, request_sheet


def test_what_the_gateway_adds_is_its_time_less_that_of_the_upstream_asked_directly() -> None:
    direct = {"first": [1.0, 1.0, 9.0], "whole": [2.0, 2.0, 2.0]}
    through = {"first": [4.0, 4.0, 29.0], "whole": [7.0, 7.0, 8.0]}
    sheet = request_sheet({DIRECT: direct, GATEWAY: through})
    added = next(row for row in sheet.rows if row.name == ADDED)
    medians = {key: value.median for key, value in added.figures.items() if value is not None}
    assert medians == {"first_p50": 3.0, "first_p99": 20.0, "whole_p50": 5.0}
    assert sheet.ratio_of(sheet.rows[1]) == pytest.approx(4.0)
