"""The requests that the gateway refused, counted by key and cause for each day (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number
from openfall.router_core.state.redis_connection import RedisConnection, pairs

NO_KEY = "(none)"
"""In place of the name of a key, for requests without one or with an unknown one. No key can have this name."""
_KEEP_SECONDS = 8 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequests:
    """How many requests of one key were refused for one cause on one day. `cause` is a row of the gateway's table of
    errors. `last_at`: when the last one was counted, in epoch seconds; 0: unknown."""

    key: str
    cause: str
    count: int
    last_at: float


async def count_refused(link: RedisConnection, counts: Mapping[tuple[str, str], int]) -> None:
    """Add counts by key and cause to those of this day. Raises `StoreError`."""
    rows = [(key, cause, count) for (key, cause), count in counts.items()]
    await link.script("count_refused", {"rows": rows, "keep_s": _KEEP_SECONDS})


async def fetch_refused(link: RedisConnection, now: float) -> list[RefusedRequests]:
    """What was refused on the day (UTC) of `now`, the most frequent first. Raises `StoreError`."""
    name = f"{keys.REFUSED}{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
    fields = pairs(await link.command("HGETALL", name))
    labels = dict.fromkeys(field.rpartition(" ")[0] for field in fields)
    with link.notes.reading(name):
        rows = [
            RefusedRequests(
                key=label.partition(" ")[0],
                cause=label.partition(" ")[2],
                count=max(0, read_number(fields.get(f"{label} n"))),
                last_at=read_moment(fields.get(f"{label} last")),
            )
            for label in labels
            if label.count(" ") == 1
        ]
    return sorted(rows, key=lambda row: (-row.count, row.key, row.cause))
