"""What is done to the fleet, one coroutine a fault. Each writes down what it did, when, and to whom."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.torturing.arena import Arena, now_ms
from benchmarks.torturing.crew import Crew, Member, until
from benchmarks.torturing.plan import FROZEN_FOR, STALLED_FOR
from benchmarks.torturing.submitter import AIMED

BUSY = 2
"""Calls in flight: one alone could end between the look and the blow."""

FIND_BUSY = 8.0
"""Seconds to look for a worker with calls in flight before any other will do."""

IDLE = 1.5
"""Seconds after which a new worker without jobs waits for its bell."""

VALKEY_DOWN = 1.0


@dataclass
class Tormentor:
    """Carries out faults on a crew and its Valkey."""

    arena: Arena
    crew: Crew
    draw: random.Random
    aiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    aimed_jobs: int = 0
    thaws: int = 0

    async def commit(self, kind: str) -> None:
        """Carry out one fault; returns when it is over."""
        await self._kinds()[kind]()

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "kill": self.kill,
            "aimed": self.aimed,
            "frozen": self.frozen,
            "valkey-killed": self.valkey_killed,
            "valkey-frozen": self.valkey_frozen,
            "deploy": self.deploy,
        }

    async def kill(self) -> None:
        """SIGKILL to a worker with calls in flight."""
        victim = await self._victim()
        victim.told = True
        self.arena.chronicle.note("kill", now_ms(), pid=victim.pid)
        victim.send(signal.SIGKILL)

    async def aimed(self) -> None:
        """The only worker of a pool is frozen while it waits; a job arrives; the worker is killed."""
        async with self.aiming:
            victim = await self.crew.of(AIMED)
            await asyncio.sleep(IDLE)
            victim.told = True
            victim.send(signal.SIGSTOP)
            self.aimed_jobs += 1
            job_id = f"{AIMED}-{self.aimed_jobs:08}"
            self.arena.ask(job_id)
            await until(lambda: self.arena.was_accepted(job_id) or None, what=f"{job_id} to be accepted")
            self.arena.chronicle.note("aimed", now_ms(), pid=victim.pid, job=job_id)
            victim.send(signal.SIGKILL)
            await until(lambda: victim.gone or None)

    async def frozen(self) -> None:
        """A worker stands still with calls in flight while others take them over, then goes on.

        Every other one has lost its connections meanwhile, as behind a firewall that forgets. Its settles then come
        before its beat could tell it that they are too late: the fence alone stands between them and a second result.
        """
        victim = await self._victim()
        victim.away = True
        began = now_ms()
        victim.send(signal.SIGSTOP)
        await asyncio.sleep(FROZEN_FOR)
        self.thaws += 1
        if self.thaws % 2 and not self.arena.chronicle.outage_now:
            self.arena.store.cut_off(FROZEN_FOR - 3)
        victim.send(signal.SIGCONT)
        self.arena.chronicle.note("frozen", began, ended=now_ms(), pid=victim.pid)
        await asyncio.sleep(IDLE)  # for its late settles, before anything else befalls it
        victim.away = False

    async def valkey_killed(self) -> None:
        """SIGKILL to Valkey; it is started again a second later."""
        with self.arena.chronicle.outage():
            self.arena.store.send(signal.SIGKILL)
            await asyncio.sleep(VALKEY_DOWN)
            self.arena.store.start()

    async def valkey_frozen(self) -> None:
        """Valkey stands still in the middle of accepts and settles, then goes on as if nothing had been."""
        with self.arena.chronicle.outage():
            self.arena.store.send(signal.SIGSTOP)
            await asyncio.sleep(STALLED_FOR)
            self.arena.store.send(signal.SIGCONT)

    async def deploy(self) -> None:
        """Every worker is told to end in good order and is replaced, one after another."""
        began = now_ms()
        async with self.aiming:
            for member in list(self.crew.members):
                if not member.told and not member.gone:
                    known = set(map(id, self.crew.members))
                    await self.crew.dismiss(member)
                    await until(lambda known=known: self._newcomer(known))  # type: ignore[misc]
        self.arena.chronicle.note("deploy", began, ended=now_ms())

    def _newcomer(self, known: set[int]) -> Member | None:
        return next((member for member in self.crew.members if id(member) not in known and member.ready), None)

    async def _victim(self) -> Member:
        """A worker to torment: one with calls in flight, if it is found soon."""
        end = asyncio.get_running_loop().time() + FIND_BUSY

        def look() -> Member | None:
            busy, free = self.crew.busy_or_idle(BUSY)
            late = asyncio.get_running_loop().time() > end
            choice = busy or (free if late else [])
            return self.draw.choice(choice) if choice else None

        return await until(look, what="a worker to torment")
