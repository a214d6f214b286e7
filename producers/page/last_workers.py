"""The workers of pools that no live worker serves, which Redis may have forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from openfall.router_core.state.fleet_status import WorkerStatus
from openfall.router_core.state.keys import pool_of


@dataclass(slots=True)
class LastWorkers:
    """What one gateway remembers: the workers that lived, and the last beat of each in epoch seconds. One that left
    while others went on serving its pools is forgotten."""

    _lived: dict[str, tuple[WorkerStatus, float]] = field(default_factory=dict)

    def add_gone(self, workers: Sequence[WorkerStatus], now: float) -> tuple[WorkerStatus, ...]:
        """The workers, and the remembered ones of pools that none of them serves, as gone."""
        alive = [worker for worker in workers if worker.alive]
        served = {pool_of(queue) for worker in alive for queue in worker.queues}
        self._lived.update({worker.name: (worker, now - (worker.heartbeat_age_seconds or 0.0)) for worker in alive})
        listed = {worker.name for worker in workers}
        missing = {name: last for name, last in self._lived.items() if name not in listed}
        gone = []
        for name, (worker, beat_at) in missing.items():
            if served.issuperset(map(pool_of, worker.queues)):
                del self._lived[name]
            else:
                gone.append(replace(worker, alive=False, heartbeat_age_seconds=now - beat_at))
        return (*workers, *gone)
