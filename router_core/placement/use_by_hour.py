"""When people use a model: minutes of use by hour of the week, of which older weeks count less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOUR_SECONDS, WEEK_SECONDS = 3600.0, 604_800.0
_MONDAY_SECONDS = 3 * 86_400.0
"""From the Monday of its week to the beginning of the epoch, a Thursday."""
WEIGHT_OF_A_WEEK = 0.5
"""A week counts half as much as the next one: an hour that is used every week converges to twice its minutes."""


@dataclass(frozen=True, slots=True)
class HourOfUse:
    """The minutes of use in one hour of the week, as of a week."""

    minutes: float
    week: int

    def as_of(self, week: int) -> float:
        """The minutes as they count in a later week."""
        return self.minutes * WEIGHT_OF_A_WEEK ** max(0, week - self.week)


def hour_of_week(moment: float) -> int:
    """The hour of the week (UTC), from 0 on Monday at 00:00."""
    return int((moment + _MONDAY_SECONDS) % WEEK_SECONDS // HOUR_SECONDS)


def week_of(moment: float) -> int:
    """The number of the week, which begins on Monday."""
    return int((moment + _MONDAY_SECONDS) // WEEK_SECONDS)


def with_a_minute(use: Mapping[int, HourOfUse], moment: float) -> HourOfUse:
    """The hour of a moment with one more minute of use."""
    before = use.get(hour_of_week(moment), HourOfUse(0.0, week_of(moment)))
    return HourOfUse(before.as_of(week_of(moment)) + 1.0, week_of(moment))


def expected_minutes(use: Mapping[int, HourOfUse], now: float) -> float:
    """How many minutes of the next hour people will use the model, by the same hour of the weeks before."""
    into_hour = (now % HOUR_SECONDS) / HOUR_SECONDS
    return (1 - into_hour) * _usual_minutes(use, now) + into_hour * _usual_minutes(use, now + HOUR_SECONDS)


def _usual_minutes(use: Mapping[int, HourOfUse], moment: float) -> float:
    """The weighted mean of the weeks before: what is summed with weights 1, 1/2, 1/4 ... adds up to twice the mean."""
    hour = use.get(hour_of_week(moment))
    if hour is None:
        return 0.0
    own = hour.week == week_of(moment)
    return hour.minutes * WEIGHT_OF_A_WEEK if own else hour.as_of(week_of(moment))
