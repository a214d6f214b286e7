"""The faults of a torture run, one coroutine each. Each records what it did, when, and to which process."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.environment import Environment, now_ms, write_line
from tests.chaos.harness import Fault
from tests.chaos.judge.evidence import PlannedJob, read_lines
from tests.chaos.torture_plan import AIMED, AIMED_ROLE, FROZEN_SECONDS, STALLED_SECONDS
from tests.chaos.worker_pool import WorkerPool, WorkerProcess, until

MIN_CALLS = 2
"""A worker is busy with this many calls in flight: one alone could end before the fault hits."""

FIND_BUSY_TIMEOUT_S = 8.0
"""After this time a fault hits an idle worker too."""

IDLE_SECONDS = 1.5
"""After this time a new worker without jobs waits for its wake-up."""


@dataclass
class TortureFaults:
    """Commits faults on workers and Valkey."""

    environment: Environment
    pool: WorkerPool
    random: random.Random
    log_line: Callable[[str], None]
    aiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    aimed_jobs: int = 0
    thaws: int = 0

    def by_kind(self) -> dict[str, Fault]:
        """The faults by the names of the plan; each is announced."""
        faults: dict[str, Fault] = {
            "kill": self.kill,
            "aimed": self.aimed,
            "frozen": self.freeze,
            "valkey-killed": self.environment.kill_valkey,
            "valkey-frozen": self.freeze_valkey,
            "deploy": self.deploy,
        }

        def announced(kind: str) -> Fault:
            async def commit() -> None:
                self.log_line(kind)
                await faults[kind]()

            return commit

        return {kind: announced(kind) for kind in faults}

    async def kill(self) -> None:
        """SIGKILL to a worker with calls in flight."""
        self.pool.kill(await self._find_victim(), "kill")

    async def aimed(self) -> None:
        """The only worker of a pool is frozen while it waits; a job arrives; the worker is killed."""
        async with self.aiming:
            victim = await until(lambda: next((w for w in self.pool.undisturbed(AIMED)), None))
            await asyncio.sleep(IDLE_SECONDS)
            victim.ending = True
            victim.send(signal.SIGSTOP)
            self.aimed_jobs += 1
            job_id = f"{AIMED}-{self.aimed_jobs:08}"
            write_line(self.environment.directory / "requested.jsonl", PlannedJob(job_id, AIMED_ROLE, "interactive"))
            await until(lambda: self._was_accepted(job_id) or None, what=f"{job_id} to be accepted")
            self.pool.kill(victim, "aimed", job=job_id)
            await until(lambda: victim.gone or None)

    def _was_accepted(self, job_id: str) -> bool:
        return any(row["id"] == job_id for row in read_lines(self.environment.accepted))

    async def freeze(self) -> None:
        """A worker is frozen with calls in flight while others take them over, then it continues.

        Every other frozen worker also loses its connections, as behind a firewall that forgets them. Its settles then
        arrive before its heartbeat learns that they are too late: only the fence prevents a second result.
        """
        victim = await self._find_victim()
        victim.disturbed = True
        began = now_ms()
        victim.send(signal.SIGSTOP)
        await asyncio.sleep(FROZEN_SECONDS)
        self.thaws += 1
        if self.thaws % 2 and not self.environment.fault_log.outage_now:
            self.environment.server.disconnect_idle(FROZEN_SECONDS - 3)
        victim.send(signal.SIGCONT)
        self.environment.fault_log.note("frozen", began, ended=now_ms(), pid=victim.pid)
        await asyncio.sleep(IDLE_SECONDS)  # for its late settles, before another fault hits it
        victim.disturbed = False

    async def freeze_valkey(self) -> None:
        """Valkey is frozen in the middle of accepts and settles, then continues."""
        with self.environment.fault_log.outage():
            self.environment.server.send(signal.SIGSTOP)
            await asyncio.sleep(STALLED_SECONDS)
            self.environment.server.send(signal.SIGCONT)

    async def deploy(self) -> None:
        """Every worker is stopped in good order and replaced, one after another."""
        began = now_ms()
        async with self.aiming:
            for worker in list(self.pool.workers):
                if not worker.ending and not worker.gone:
                    known = set(map(id, self.pool.workers))
                    await self.pool.stop(worker)
                    await until(lambda known=known: self._find_newcomer(known))  # type: ignore[misc]
        self.environment.fault_log.note("deploy", began, ended=now_ms())

    def _find_newcomer(self, known: set[int]) -> WorkerProcess | None:
        return next((worker for worker in self.pool.workers if id(worker) not in known and worker.ready), None)

    async def _find_victim(self) -> WorkerProcess:
        """A busy worker, or any undisturbed one if none is busy soon."""
        deadline = asyncio.get_running_loop().time() + FIND_BUSY_TIMEOUT_S

        def choose() -> WorkerProcess | None:
            late = asyncio.get_running_loop().time() > deadline
            choices = self.pool.busy(MIN_CALLS) or (self.pool.undisturbed("gpu") if late else [])
            return self.random.choice(choices) if choices else None

        return await until(choose, what="a worker to hit")
