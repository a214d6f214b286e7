"""What Redis has lost: it went back to an earlier state, or is empty, while workers run.

A backup that was restored, a failover, a power cut or FLUSHALL has that effect. Redis counts each beat of a worker. A
worker that has seen a higher count says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.state.decoding import read_moment, read_object
from openfall.router_core.state.unreadable_notes import note_unreadable

KEPT_SECONDS = 86400
"""How long `openfall status` and the page show it."""


@dataclass(frozen=True, slots=True)
class LostWrites:
    """A worker noticed at `noticed_at` that Redis has lost what it stored until `until`: everything, or (`since`) what
    was stored after that. Epoch seconds on the clock of Redis."""

    noticed_at: float
    until: float
    since: float | None
    worker: str


def read_lost_writes(packed: bytes) -> LostWrites | None:
    """None: nothing is known of a loss, or the value cannot be read."""
    if not packed:
        return None
    fields = read_object(packed)
    if fields is None or not {"at", "until", "worker"} <= fields.keys():
        note_unreadable("has another shape")
        return None
    noticed_at, until, since = (read_moment(str(fields.get(name) or "").encode()) for name in ("at", "until", "since"))
    return LostWrites(noticed_at, until, since or None, str(fields["worker"]))
