"""Which refusals are those of a subscription, and of which of its windows."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.flat_plan import PlanReport, plan_report
from openfall.router_core.vocabulary import ErrorClass as E

WINDOWS = (18_000.0, 604_800.0)


@pytest.mark.parametrize(
    ("detail", "window"),
    [
        ("you have reached your weekly usage limit", 2),
        ("Session usage limit reached", 1),
        ("monthly usage limit", 2),
        ("5 hour limit", 1),
        ("no credit left", 1),
    ],
)
def test_the_words_of_a_refusal_name_the_window_that_is_used_up(detail, window):
    assert plan_report(WINDOWS, E.OUT_OF_CREDITS, detail, None) == PlanReport(WINDOWS, window, 0.0, is_out=True)


def test_without_windows_only_the_time_that_the_provider_gives_is_known():
    assert plan_report((), E.OUT_OF_CREDITS, "weekly", 99.0) == PlanReport((), 0, 99.0, is_out=True)


def test_a_long_429_is_a_limit_of_the_plan_and_a_short_one_is_not():
    assert plan_report(WINDOWS, E.RATE_LIMITED, "", 7200.0).is_out
    for error, wait in ((E.RATE_LIMITED, 60.0), (E.RATE_LIMITED, None), (E.TIMEOUT, 7200.0), (None, None)):
        assert plan_report(WINDOWS, error, "weekly", wait) == PlanReport(WINDOWS)
