"""The windows of a budget: when each begins and ends, in the time zone of the budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum

NEVER_ENDS = 253402300799.0
"""Epoch seconds: the end of a window without an end."""


class Period(StrEnum):
    """The windows of a budget. Each resets at midnight in the time zone of the budget."""

    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"
    EVER = "ever"


@dataclass(frozen=True, slots=True)
class BudgetWindow:
    """One window of a budget: its name (`2026-11-29`, `2026-W48`, `2026-11`, `ever`), its start and its end, in epoch
    seconds. A window without an end has the start 0."""

    name: str
    ends_at: float
    starts_at: float = 0.0


def windows_from(period: Period, zone: tzinfo, moment: float, count: int) -> list[BudgetWindow]:
    """The window of a moment, and those that follow it."""
    if period is Period.EVER:
        return [BudgetWindow("ever", NEVER_ENDS)]
    days = zip(_starts(period, _day(zone, moment)), range(count), strict=False)
    return [
        BudgetWindow(_window_name(period, day), _midnight(_next_start(period, day), zone), _midnight(day, zone))
        for day, _ in days
    ]


def earlier_windows(period: Period, zone: tzinfo, moment: float, count: int) -> list[str]:
    """The names of windows before that of a moment that are like it: the same weekday of the weeks before, the weeks or
    the months before. The latest first."""
    if period is Period.EVER:
        return []
    start = next(_starts(period, _day(zone, moment)))
    names = []
    for _ in range(count):
        start -= timedelta(days=1 if period is Period.MONTH else 7)
        start = next(_starts(period, start))
        names.append(_window_name(period, start))
    return names


def _day(zone: tzinfo, moment: float) -> date:
    return datetime.fromtimestamp(moment, zone).date()


def _starts(period: Period, day: date) -> Iterator[date]:
    if period is Period.WEEK:
        day -= timedelta(days=day.weekday())
    elif period is Period.MONTH:
        day = day.replace(day=1)
    while True:
        yield day
        day = _next_start(period, day)


def _next_start(period: Period, day: date) -> date:
    if period is Period.MONTH:
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=7 if period is Period.WEEK else 1)


def _midnight(day: date, zone: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _window_name(period: Period, day: date) -> str:
    if period is Period.WEEK:
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}"
    return f"{day:%Y-%m}" if period is Period.MONTH else day.isoformat()
