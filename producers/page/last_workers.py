"""The last worker of each pool that no live worker serves, which Redis may have forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from openfall.router_core.state.fleet_status import WorkerStatus
from openfall.router_core.state.keys import pool_of


@dataclass(slots=True)
class LastWorkers:
    """What one gateway remembers of workers: of each pool the last one alive, and its last beat in epoch seconds."""

    _by_pool: dict[str, tuple[WorkerStatus, float]] = field(default_factory=dict)

    def add_gone(self, workers: Sequence[WorkerStatus], now: float) -> tuple[WorkerStatus, ...]:
        """The workers, and those remembered of pools that none of them serves, as gone."""
        for worker in workers:
            if worker.alive:
                beat_at = now - (worker.heartbeat_age_seconds or 0.0)
                self._by_pool.update(dict.fromkeys(map(pool_of, worker.queues), (worker, beat_at)))
        served = {pool_of(queue) for worker in workers for queue in worker.queues}
        gone = {
            worker.name: replace(worker, alive=False, heartbeat_age_seconds=now - beat_at)
            for pool, (worker, beat_at) in self._by_pool.items()
            if pool not in served
        }
        return (*workers, *gone.values())
