"""Which refusals are those of a subscription, and of which of its windows."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.subscription_limits import MAX_PAUSE_SECONDS, PlanReport, plan_report
from openfall.router_core.jobs.outcome import Failure, RefusedLimit
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.router_core.vocabulary import LimitScope

WINDOWS = (18_000.0, 604_800.0)
KEY, MODEL, UNKNOWN = LimitScope


def refusal(error=E.OUT_OF_CREDITS, detail="", wait=None, scope=UNKNOWN, is_lasting=False):
    return Failure(error_class=error, detail=detail, retry_after=wait, limit=RefusedLimit(scope, is_lasting))


@pytest.mark.parametrize(
    ("detail", "window"),
    [
        ("you have reached your weekly usage limit", 2),
        ("Session usage limit reached", 1),
        ("monthly usage limit", 2),
        ("5 hour limit", 1),
        ("your 7-day window", 2),
        ("no credit left", 1),
    ],
)
def test_the_words_of_a_refusal_name_the_window_that_is_used_up(detail, window):
    assert plan_report(WINDOWS, refusal(detail=detail)) == PlanReport(WINDOWS, window, 0.0, is_out=True, scope=KEY)


def test_without_windows_only_the_time_that_the_provider_gives_is_known():
    assert plan_report((), refusal(detail="weekly", wait=999.0)) == PlanReport((), 0, 999.0, is_out=True, scope=KEY)


def test_a_wait_that_is_too_short_for_a_plan_is_not_believed_and_one_of_years_is_cut():
    short, years = plan_report(WINDOWS, refusal(wait=60.0)), plan_report(WINDOWS, refusal(wait=9e8))
    assert (short.is_out, short.refused, short.pause_seconds) == (True, 0, 0.0)
    assert years.pause_seconds == MAX_PAUSE_SECONDS


@pytest.mark.parametrize("scope", LimitScope)
def test_a_429_with_a_long_wait_is_a_limit_of_what_its_words_name(scope):
    report = plan_report(WINDOWS, refusal(E.RATE_LIMITED, wait=7200.0, scope=scope))
    assert (report.is_out, report.scope, report.pause_seconds) == (True, scope, 7200.0)


def test_a_429_for_a_limit_of_days_is_one_of_the_plan_although_it_asks_for_a_short_wait():
    report = plan_report((), refusal(E.RATE_LIMITED, wait=36.0, scope=MODEL, is_lasting=True))
    assert report == PlanReport((), 0, 0.0, is_out=True, scope=MODEL)


def test_other_calls_are_no_refusals_for_the_plan_and_only_an_answer_is_counted_as_one():
    for error, wait in ((E.RATE_LIMITED, 60.0), (E.RATE_LIMITED, None), (E.TIMEOUT, 7200.0)):
        assert plan_report(WINDOWS, refusal(error, "weekly", wait)) == PlanReport(WINDOWS)
    assert plan_report(WINDOWS, None) == PlanReport(WINDOWS, answered=True)
