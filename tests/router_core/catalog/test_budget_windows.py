"""The windows of a budget begin at midnight of its time zone, whatever the length of that day is."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.budget_windows import NEVER_ENDS, Period, earlier_windows, windows_from

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("period", "moment", "names", "first_end"),
    [
        (Period.DAY, "2026-03-28T23:30:00+01:00", ["2026-03-28", "2026-03-29"], "2026-03-29T00:00:00+01:00"),
        (Period.DAY, "2026-03-29T00:00:00+01:00", ["2026-03-29", "2026-03-30"], "2026-03-30T00:00:00+02:00"),
        (Period.DAY, "2026-10-25T12:00:00+01:00", ["2026-10-25", "2026-10-26"], "2026-10-26T00:00:00+01:00"),
        (Period.WEEK, "2026-12-31T12:00:00+01:00", ["2026-W53", "2027-W01"], "2027-01-04T00:00:00+01:00"),
        (Period.MONTH, "2027-01-31T23:59:59+01:00", ["2027-01", "2027-02"], "2027-02-01T00:00:00+01:00"),
        (Period.MONTH, "2028-02-29T12:00:00+01:00", ["2028-02", "2028-03"], "2028-03-01T00:00:00+01:00"),
    ],
)
def test_a_window_ends_at_local_midnight(period: Period, moment: str, names: list[str], first_end: str) -> None:
    windows = windows_from(period, BERLIN, at(moment), 2)
    assert [window.name for window in windows] == names
    assert windows[0].ends_at == at(first_end)


def test_the_day_of_the_change_to_summer_time_has_23_hours_and_that_back_25() -> None:
    for moment, hours in (("2026-03-29T12:00:00+02:00", 23), ("2026-10-25T12:00:00+01:00", 25)):
        before, day = windows_from(Period.DAY, BERLIN, at(moment) - 86400, 2)
        assert day.ends_at - before.ends_at == hours * 3600


def test_ever_never_ends() -> None:
    (window,) = windows_from(Period.EVER, UTC, 0.0, 4)
    assert (window.name, window.ends_at) == ("ever", NEVER_ENDS)


@pytest.mark.parametrize(
    ("period", "names"),
    [
        (Period.DAY, ["2026-03-22", "2026-03-15", "2026-03-08"]),
        (Period.WEEK, ["2026-W12", "2026-W11", "2026-W10"]),
        (Period.MONTH, ["2026-02", "2026-01", "2025-12"]),
        (Period.EVER, []),
    ],
)
def test_windows_like_a_window_are_the_same_weekday_the_weeks_or_the_months_before(
    period: Period, names: list[str]
) -> None:
    assert earlier_windows(period, BERLIN, at("2026-03-29T12:00:00+02:00"), 3) == names


def test_a_window_begins_where_the_one_before_ends() -> None:
    before, day = windows_from(Period.DAY, BERLIN, at("2026-03-28T12:00:00+01:00"), 2)
    assert day.starts_at == before.ends_at == at("2026-03-29T00:00:00+01:00")


ZONES = (
    "UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham", "Australia/Lord_Howe",
    "America/Havana",
    "America/Santiago", "Africa/Cairo", "Asia/Beirut", "America/Nuuk", "Pacific/Kiritimati", "Etc/GMT+12",
)  # fmt: skip
"""With offsets of half and three quarters of an hour, and zones whose clocks change at midnight, by half an hour or
across a day."""


@given(
    st.sampled_from(ZONES), st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH]), st.floats(1767225600, 1830297600)
)
def test_every_moment_is_in_one_window_of_every_zone(zone: str, period: Period, moment: float) -> None:
    first, second, third = windows_from(period, ZoneInfo(zone), moment, 3)
    assert first.starts_at <= moment < first.ends_at == second.starts_at
    assert second.ends_at == third.starts_at
    assert len({first.name, second.name, third.name}) == 3
    assert windows_from(period, ZoneInfo(zone), first.ends_at, 1)[0].name == second.name
    assert windows_from(period, ZoneInfo(zone), first.ends_at - 1, 1)[0].name == first.name
