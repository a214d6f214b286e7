"""Budgets: how much calls that are paid by the token may cost in a window of the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.formats import (
    BackendName,
    CatalogEntry,
    Format,
    ModelName,
    Name,
    PositiveShare,
    RoleName,
    Share,
    TaskName,
    Text,
)
from openfall.router_core.catalog.prices import Usd

NEVER_ENDS = 253402300799.0
"""Epoch seconds: the end of a window without an end."""


class Period(StrEnum):
    """The windows of a budget. Each resets at midnight in the time zone of the budget."""

    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"
    EVER = "ever"


class Each(StrEnum):
    """Whose calls are counted apart."""

    GROUP = "group"
    PRODUCER = "producer"
    ROLE = "role"


class OverKind(StrEnum):
    """What a job does whose call does not fit into a budget. The first that is possible applies."""

    LOCAL = "local"  # another model of its chain, whose calls cost nothing
    WAIT = "wait"  # it is held until the budget resets
    REFUSE = "refuse"  # it fails


class Budget(CatalogEntry):
    """A limit of what calls may cost. It counts the calls for which each condition holds that it has."""

    name: Annotated[Name, Format.NAME] = Field(description="Its name in messages and `openfall budgets`.")
    usd: Usd = Field(description="US dollars in each window. 0: nothing that costs.")
    per: Period = Field(Period.DAY, description="The window: `day`, `week` (from Monday), `month` or `ever`.")
    timezone: Text = Field("UTC", description="The time zone of its midnight: `Europe/Berlin`.")
    group: Annotated[Name, Format.NAME] | None = Field(None, description="Only calls for this group.")
    role: RoleName | None = Field(None, description="Only calls for this role.")
    task: TaskName | None = Field(None, description="Only calls for this task.")
    model: ModelName | None = Field(None, description="Only calls of this model.")
    backend: BackendName | None = Field(None, description="Only calls at this backend.")
    key_of: BackendName | None = Field(None, description="Only calls with a key of this backend, at any backend.")
    producer: Text | None = Field(None, description="Only calls for this producer.")
    each: Each | None = Field(
        None, description="Every `group`, `producer` or `role` has a budget of its own, of this size."
    )
    reserved_interactive: Share = Field(
        0.0,
        description="The share of it that only interactive jobs may use: a night's batch leaves it for the morning.",
    )
    soft: PositiveShare | None = Field(
        None,
        description="From this share on the notifiers of `open_fall` get a notice, and calls go on. They also get one "
        "when the forecast of the first half of a window is above the limit.",
    )
    then: Annotated[tuple[OverKind, ...], Field(min_length=1)] = Field(
        (OverKind.LOCAL, OverKind.WAIT),
        description="What a job does whose call does not fit: `local` (a model of its chain that costs nothing), "
        "`wait` (held until the budget resets), `refuse`. The first that is possible applies.",
    )


class SpendPolicy(CatalogEntry):
    """Notices about money."""

    unexpected_usd: Usd = Field(
        0.1,
        description="From this sum of a day (UTC) on, calls that were paid by the token although a local or flat-rate "
        "model stands before theirs in the chain are reported to the notifiers of `open_fall`.",
    )


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
