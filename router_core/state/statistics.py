"""Statistics of jobs by role, urgency, group and model: totals, and those of a day or a month (UTC).

The totals only grow. A copy of them is kept from the begin of each day and month: the statistics of a day are the
difference between two copies. A day is kept for 40 days, a month for 13 months.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from urllib.parse import unquote

from openfall.router_core.jobs.result import Status
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number
from openfall.router_core.state.delivery_counts import ANSWERED_OUTCOMES, FELL_BACK, OUTCOMES
from openfall.router_core.state.histogram_buckets import JOB_BOUNDS, bucket_names, quantile_bound
from openfall.router_core.state.redis_connection import RedisConnection, pairs

LABELS = 4

Fields = Mapping[str, int]
"""The counts as they are in Redis."""


class StatisticsKey(StrEnum):
    """What the rows of a table of statistics are for."""

    ROLE = "role"
    URGENCY = "urgency"
    GROUP = "group"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatistics:
    """The ended jobs with the same labels; None: the label has no value, or the row is a sum over all values.
    `role` is the task of a job without a role.

    `outcomes` counts them by outcome: see `OUTCOMES`. `seconds` is the time of all answered ones together, and
    `buckets` their number by the bounds of `JOB_BOUNDS`, the longest last."""

    role: str | None = None
    urgency: str | None = None
    group: str | None = None
    model: str | None = None
    outcomes: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    buckets: tuple[int, ...] = (0,) * (len(JOB_BOUNDS) + 1)
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values())

    @property
    def answered(self) -> int:
        """Those with an answer of a model of their chain."""
        return self.outcomes.get(Status.ANSWERED.value, 0) + self.fell_back

    @property
    def fell_back(self) -> int:
        """Those of the answered ones that another model than their first choice answered."""
        return self.outcomes.get(FELL_BACK, 0)

    @property
    def failed(self) -> int:
        """Those without any reply: failed, or expired. Cancelled ones are in no sum but `requests`."""
        return self.outcomes.get(Status.FAILED.value, 0) + self.outcomes.get(Status.EXPIRED.value, 0)

    @property
    def mean_seconds(self) -> float | None:
        """The mean time from acceptance to the reply; None: there was none."""
        timed = sum(self.buckets)
        return self.seconds / timed if timed else None

    @property
    def p95_bound_seconds(self) -> float | None:
        """The time within which 95 % of the replies arrived, at most: see `quantile_bound`."""
        return quantile_bound(self.buckets, JOB_BOUNDS, self.seconds, 0.95)


def sum_statistics(rows: Iterable[JobStatistics], by: StatisticsKey | None = None) -> list[JobStatistics]:
    """A row for each value of a label, the most requests first; None: one row for all."""
    groups: dict[str | None, list[JobStatistics]] = {} if by else {None: []}
    for row in rows:
        groups.setdefault(getattr(row, by) if by else None, []).append(row)
    sums = [_add(members, {by.value: name} if by else {}) for name, members in groups.items()]
    return sorted(sums, key=lambda row: (-row.requests, row.role or row.urgency or row.group or row.model or ""))


def _add(rows: Sequence[JobStatistics], labels: Mapping[str, str | None]) -> JobStatistics:
    return JobStatistics(
        **labels,
        outcomes={name: total for name in OUTCOMES if (total := sum(row.outcomes.get(name, 0) for row in rows))},
        seconds=sum(row.seconds for row in rows),
        buckets=tuple(sum(row.buckets[n] for row in rows) for n in range(len(JOB_BOUNDS) + 1)),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
    )


def read_statistics(fields: Fields) -> list[JobStatistics]:
    """The rows of the counts, one for each set of labels."""
    cells: dict[tuple[str, ...], dict[str, int]] = {}
    for name, amount in fields.items():
        words = name.split(" ")
        if len(words) > LABELS:
            cells.setdefault(tuple(words[:LABELS]), {})[" ".join(words[LABELS:])] = amount
    return [_row(labels, amounts) for labels, amounts in sorted(cells.items())]


def _row(labels: tuple[str, ...], cells: Mapping[str, int]) -> JobStatistics:
    role, urgency, group, model = (None if word == "-" else unquote(word) for word in labels)
    outcomes: dict[str, int] = {}
    buckets = dict.fromkeys(bucket_names(JOB_BOUNDS), 0)
    for cell, amount in cells.items():
        outcome, _, bound = cell.partition(" ")
        if outcome in OUTCOMES:
            outcomes[outcome] = outcomes.get(outcome, 0) + amount
            if outcome in ANSWERED_OUTCOMES and bound in buckets:
                buckets[bound] += amount
    return JobStatistics(
        role=role, urgency=urgency, group=group, model=model, outcomes=outcomes, seconds=cells.get("ms", 0) / 1000,
        buckets=tuple(buckets.values()), input_tokens=cells.get("in", 0), output_tokens=cells.get("out", 0),
    )  # fmt: skip


async def fetch_job_totals(link: RedisConnection) -> list[JobStatistics]:
    """The totals since the store was empty."""
    return read_statistics(_fields(await link.command("HGETALL", keys.JOB_COUNTS)))


async def fetch_statistics(link: RedisConnection, period: str) -> list[JobStatistics]:
    """The statistics of a day (`2026-11-21`) or of a month (`2026-11`), in UTC; two round trips. Empty: no job ended in
    it, or it is not kept any more. Raises `ValueError` for another text."""
    begins, ends, later = _borders(period)
    since, *kept = await asyncio.gather(
        link.command("HGET", keys.JOB_COUNTS, "since"),
        *(link.command("EXISTS", keys.JOB_COUNTS_AT + name) for name in later),
    )
    with link.notes.reading(keys.JOB_COUNTS):
        started = read_moment(since)
    if not started or started >= ends.timestamp():
        return []
    copies = [name for name, exists in zip(later, kept, strict=True) if exists]
    # No copy of a period: nothing was counted in it, so that the next copy is the same.
    until = next((name for name in copies if name >= _name(ends, period)), None)
    before = next(iter(copies), None) if started < begins.timestamp() else ""
    if before == until:
        return []
    total, earlier = await asyncio.gather(_read(link, until), _read(link, before))
    changes = {name: max(0, amount - earlier.get(name, 0)) for name, amount in total.items()}
    return read_statistics({name: amount for name, amount in changes.items() if amount})


def _borders(period: str) -> tuple[datetime, datetime, list[str]]:
    """The begin and the end of a period, and the names of all copies from its begin on that may be kept."""
    is_month = len(period) == len("2026-11")
    try:
        first = date.fromisoformat(f"{period}-01" if is_month else period)
    except ValueError:
        raise ValueError(f"{period!r} is no day such as 2026-11-21 and no month such as 2026-11") from None
    if is_month:
        months = [_month_after(first, n) for n in range(15)]
        return _midnight(first), _midnight(months[1]), [f"{month:%Y-%m}" for month in months]
    days = [first + timedelta(days=n) for n in range(42)]
    return _midnight(first), _midnight(days[1]), [day.isoformat() for day in days]


def _month_after(first: date, months: int) -> date:
    years, month = divmod(first.month - 1 + months, 12)
    return date(first.year + years, month + 1, 1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _name(moment: datetime, period: str) -> str:
    return moment.date().isoformat()[: len(period)]


async def _read(link: RedisConnection, copy: str | None) -> Fields:
    """The counts of a copy; of now (None); none (empty)."""
    if copy == "":
        return {}
    key = keys.JOB_COUNTS if copy is None else keys.JOB_COUNTS_AT + copy
    reply = await link.command("HGETALL", key)
    with link.notes.reading(key):
        return _fields(reply)


def _fields(reply: list[bytes]) -> Fields:
    return {name: max(0, read_number(value)) for name, value in pairs(reply).items()}
