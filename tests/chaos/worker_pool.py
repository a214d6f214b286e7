"""The workers of a run. A supervisor replaces each worker that ends."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.processes import BenchmarkError, Child, started
from tests.chaos.environment import START_TIMEOUT_S, Environment, now_ms

T = TypeVar("T")

POLL_INTERVAL_S = 0.03
STOP_TIMEOUT_S = 60.0
"""A worker ends within this time after SIGTERM: more than its grace."""

SNAPSHOT_SECONDS = 2.0
"""A worker refreshes its snapshot of the fleet within this time. Before that, it may miss a pool that started last: a
job that fails at the first model of its chain then falls, although the second one can answer."""

REDIS_AWAY = 3
"""The exit status of a worker that finds no Redis at its start."""


@dataclass
class WorkerProcess:
    """One worker. `ending`: the run killed or stopped it. `disturbed`: it is frozen, no fault may hit it now."""

    pool: str
    child: Child
    stack: ExitStack
    born: float
    ending: bool = False
    disturbed: bool = False
    announced: bool = False

    @property
    def pid(self) -> int:
        return self.child.popen.pid

    @property
    def gone(self) -> bool:
        return self.child.popen.poll() is not None

    @property
    def ready(self) -> bool:
        self.announced = self.announced or '"ready"' in self.child.log.read_text(errors="replace")
        return self.announced and not self.gone

    def send(self, number: signal.Signals) -> None:
        self.child.popen.send_signal(number)


@dataclass
class WorkerPool:
    """All workers. Their number stays the same until `stop_all`. `crowded`: they start all at once, and one may find
    no Redis at its start."""

    environment: Environment
    crowded: bool = False
    workers: list[WorkerProcess] = field(default_factory=list)
    born: int = 0
    closing: bool = False

    def start(self, pool: str, config: Path | None = None) -> WorkerProcess:
        """Start one worker, with the configuration of the environment or another."""
        self.born += 1
        log = self.environment.directory / f"worker-{self.born:03}-{pool}.log"
        stack, born = ExitStack(), now_ms()
        child = stack.enter_context(started(self.environment.worker_argv(pool, config), log))
        self.workers.append(WorkerProcess(pool, child, stack, born))
        return self.workers[-1]

    async def supervise(self) -> None:
        """Replace each worker that is gone, for ever."""
        while True:
            for worker in [worker for worker in self.workers if worker.gone]:
                self._remove(worker)
                if not self.closing:
                    self.start(worker.pool)
            await asyncio.sleep(POLL_INTERVAL_S)

    def _remove(self, worker: WorkerProcess) -> None:
        """Remove a dead worker; an end that the run did not cause is a problem."""
        self.workers.remove(worker)
        worker.stack.close()
        code, log = worker.child.popen.returncode, self.environment.fault_log
        excused = code == REDIS_AWAY and (self.crowded or log.excuses(worker.born, now_ms()))
        if not worker.ending and not excused:
            problem = f"a worker ended by itself with {code}: {worker.child.last_output}"
            log.problems.append(problem)
            if not worker.announced:
                raise BenchmarkError(problem)  # the next worker would fail in the same way

    async def wait_until_ready(self) -> None:
        """Wait until every worker is ready, and knows that the others are."""
        await until(lambda: all(worker.ready for worker in self.workers) or None, what="every worker to be ready")
        await asyncio.sleep(SNAPSHOT_SECONDS)

    def undisturbed(self, pool: str) -> list[WorkerProcess]:
        """The ready workers of a pool that no fault has hit."""
        return [w for w in self.workers if w.pool == pool and w.ready and not (w.ending or w.disturbed)]

    def busy(self, min_calls: int) -> list[WorkerProcess]:
        """The undisturbed workers with at least this many calls in flight."""
        calls = Counter[int]() if self.environment.fault_log.outage_now else self.environment.server.calls_in_flight()
        return [worker for worker in self.undisturbed("gpu") if calls[worker.pid] >= min_calls]

    def kill(self, worker: WorkerProcess, kind: str, **fields: Any) -> None:
        """SIGKILL to one worker, as a fault of this kind."""
        worker.ending = True
        self.environment.fault_log.note(kind, now_ms(), pid=worker.pid, **fields)
        worker.send(signal.SIGKILL)

    async def stop(self, worker: WorkerProcess) -> None:
        """SIGTERM to one worker; it must end with status 0."""
        worker.ending = True
        worker.send(signal.SIGTERM)
        await until(lambda: worker.gone or None, STOP_TIMEOUT_S, f"worker {worker.pid} to end after SIGTERM")
        if code := worker.child.popen.returncode:
            problem = f"a worker ended with {code} after SIGTERM: {worker.child.last_output}"
            self.environment.fault_log.problems.append(problem)

    async def stop_all(self) -> None:
        """Stop every worker in good order."""
        self.closing = True
        await asyncio.gather(*(self.stop(worker) for worker in list(self.workers)))

    def close(self) -> None:
        """Kill the workers that are left, frozen ones too."""
        for worker in self.workers:
            worker.send(signal.SIGKILL)
        for worker in self.workers:
            worker.stack.close()


async def until(
    probe: Callable[[], T | None], seconds: float = START_TIMEOUT_S, what: str = "a worker to be ready"
) -> T:
    """The first value of `probe` that is not None; `BenchmarkError` after `seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (value := probe()) is None:
        if loop.time() > deadline:
            raise BenchmarkError(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(POLL_INTERVAL_S)
    return value
