"""The forecast of a window: its own pace, and that of windows like it."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.budget_windows import NEVER_ENDS, BudgetWindow
from openfall.router_core.deciding.forecast import Forecast, forecast, warns_early

DAY = BudgetWindow("2026-11-29", 186_400.0, 100_000.0)
LIMIT = 1_000


def at(share: float) -> float:
    return DAY.starts_at + share * 86_400


@pytest.mark.parametrize(
    ("share", "used", "earlier", "expected"),
    [
        pytest.param(0.5, 300, [], 600, id="without earlier windows the pace so far goes on"),
        pytest.param(0.5, 300, [600, 600, 600], 600, id="a usual day"),
        pytest.param(0.25, 0, [800], 450, id="a quiet morning of a day that is usually dear"),
        pytest.param(
            0.0, 0, [900, 100, 500], 500, id="at its start a window is expected to be as the median of others"
        ),
        pytest.param(1.0, 700, [100], 700, id="at its end it is what was spent"),
    ],
)
def test_the_pace_so_far_counts_as_much_as_the_share_of_the_window_that_has_passed(share, used, earlier, expected):
    expected_cost = forecast(DAY, at(share), used, LIMIT, earlier)
    assert expected_cost is not None
    assert expected_cost.nusd == expected
    assert expected_cost.exceeds_at is None


def test_a_forecast_above_the_limit_names_the_moment_when_it_is_reached():
    expected_cost = forecast(DAY, at(0.5), 750, LIMIT, [])
    assert expected_cost is not None
    assert (expected_cost.nusd, expected_cost.exceeds_at) == (1500, pytest.approx(at(0.5 + 0.5 * 250 / 750)))


def test_a_limit_that_is_reached_already_is_reached_now():
    expected_cost = forecast(DAY, at(0.5), LIMIT, LIMIT, [])
    assert expected_cost is not None
    assert expected_cost.exceeds_at == at(0.5)


@pytest.mark.parametrize("moment", [at(0.01), DAY.starts_at - 1, DAY.ends_at + 1], ids=["too early", "before", "after"])
def test_without_earlier_windows_nothing_is_known_at_the_start_and_nothing_outside(moment):
    assert forecast(DAY, moment, 5, LIMIT, []) is None


def test_a_window_without_an_end_has_no_forecast():
    assert forecast(BudgetWindow("ever", NEVER_ENDS), at(0.5), 5, LIMIT, [5]) is None


@pytest.mark.parametrize(
    ("share", "expected", "warns"),
    [
        pytest.param(0.49, Forecast(1500, at(0.9)), True, id="in the first half of the window"),
        pytest.param(0.5, Forecast(1500, at(0.9)), False, id="later the soft share is enough"),
        pytest.param(0.1, Forecast(900), False, id="the limit will not be reached"),
        pytest.param(0.1, None, False, id="nothing is known yet"),
    ],
)
def test_people_are_warned_of_a_limit_that_will_be_reached_only_while_the_window_is_young(share, expected, warns):
    assert warns_early(DAY, at(share), expected) is warns
