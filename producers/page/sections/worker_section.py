"""The workers: what each serves, and whether it is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.state.fleet_catalogs import has_other_catalog
from openfall.router_core.state.fleet_status import WorkerStatus
from openfall.router_core.state.keys import DEGRADE, pool_of

MAX_ROWS, MAX_GONE = 40, 10
LATE_BEAT_SECONDS = 15.0
"""A worker beats every few seconds: only an older beat is worth a look."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """`beat_at`: its last beat, if it is late, in epoch seconds. `reads_other`: its configuration is another than that
    of the gateway."""

    worker: WorkerStatus
    beat_at: float | None
    reads_other: bool

    @property
    def pools(self) -> str:
        return ", ".join(dict.fromkeys(map(pool_of, self.worker.queues))) or "–"


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    workers = sorted(snapshot.status.workers, key=lambda worker: (not worker.alive, worker.queues, worker.name))
    rows = [
        WorkerRow(
            worker,
            _late_beat(worker, snapshot.now),
            has_other_catalog(worker, snapshot.catalog_digest),
        )
        for worker in workers
    ]
    alive, listed = [worker for worker in workers if worker.alive], {worker.name for worker in workers}
    return {
        "rows": rows[:MAX_ROWS],
        "more": max(0, len(rows) - MAX_ROWS),
        "gone": [worker for worker in snapshot.status.last_workers if worker.name not in listed][:MAX_GONE],
        "alive": len(alive),
        "has_degrade": any(DEGRADE in worker.queues for worker in alive),
    }


def _late_beat(worker: WorkerStatus, now: float) -> float | None:
    age = worker.heartbeat_age_seconds
    return None if age is None or (worker.alive and age < LATE_BEAT_SECONDS) else now - age
