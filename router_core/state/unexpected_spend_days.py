"""Metered calls in place of models that cost nothing, as the ledger sums them up by day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number
from openfall.router_core.state.redis_connection import RedisConnection, pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class UnexpectedSpend:
    """The metered calls of one day (UTC) for a group (None: no group) that `instead_of`, a local or flat-rate model,
    should have served and `model` did, for one cause. `nusd` is their cost in nanodollars."""

    day: str
    group: str | None
    instead_of: str
    model: str
    cause: str
    calls: int
    nusd: int


@dataclass(frozen=True, slots=True)
class UnexpectedDay:
    """A day with such calls, the dearest first. `last_at`: when the last one was made, in epoch seconds."""

    rows: tuple[UnexpectedSpend, ...] = ()
    last_at: float = 0.0

    @property
    def nusd(self) -> int:
        return sum(row.nusd for row in self.rows)


async def read_unexpected(link: RedisConnection, days: Iterable[str]) -> list[UnexpectedDay]:
    """Some days, in their order."""
    read = []
    for day in days:
        fields = pairs(await link.command("HGETALL", keys.UNEXPECTED + day))
        with link.notes.reading(keys.UNEXPECTED + day):
            read.append(_read_day(day, fields))
    return read


def _read_day(day: str, fields: Mapping[str, bytes]) -> UnexpectedDay:
    rows = []
    for name, count in fields.items():
        sum_name, _, row = name.partition(" ")
        words = row.split(" ", 3)
        if sum_name != "calls" or len(words) < 4:
            continue
        group, instead_of, model, cause = words
        rows.append(
            UnexpectedSpend(
                day=day,
                group=None if group == "-" else unquote(group),
                instead_of=instead_of,
                model=model,
                cause=cause,
                calls=max(0, read_number(count)),
                nusd=max(0, read_number(fields.get(f"nusd {row}"))),
            )
        )
    rows.sort(key=lambda row: (-row.nusd, row.instead_of, row.model, row.cause))
    return UnexpectedDay(tuple(rows), read_moment(fields.get("last")))
