"""The last workers of each pool, for people: they look for a worker after rq has forgotten it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from openfall.router_core.state.decoding import read_moment, read_number, read_object
from openfall.router_core.state.unreadable_notes import note_unreadable


@dataclass(frozen=True, slots=True)
class LastWorker:
    """A worker as its last beat left it. `log`: the file of its log, or the command that shows it; empty: unknown.
    `beat_at`: epoch seconds."""

    name: str
    pool: str
    host: str
    pid: int
    log: str
    beat_at: float


def read_last_workers(rows: Mapping[str, bytes], served: Collection[str]) -> tuple[LastWorker, ...]:
    """Those of the pools that are not served, the one that beat last first."""
    workers = [worker for name, row in rows.items() if (worker := _read(name, row)) is not None]
    return tuple(sorted((each for each in workers if each.pool not in served), key=lambda each: -each.beat_at))


def _read(name: str, row: bytes) -> LastWorker | None:
    """None: the row cannot be read."""
    fields = read_object(row)
    if fields is None or not isinstance(fields.get("pool"), str):
        note_unreadable("names no pool")
        return None
    texts = {key: str(fields.get(key) or "") for key in ("pool", "host", "log")}
    numbers = {key: str(fields.get(key) or "").encode() for key in ("pid", "at")}
    return LastWorker(name=name, pid=read_number(numbers["pid"]), beat_at=read_moment(numbers["at"]), **texts)
