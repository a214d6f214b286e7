"""The callers of one process of the door: which jobs they wait for, and what happens when they leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from openfall.router_core.state.attendance import (
    LEASE_INTERVAL_SECONDS,
    PRESENCE_INTERVAL_SECONDS,
    RESTART_SECONDS,
    attend,
    let_go,
)
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection


class Callers:
    """Renews the leases of the jobs that callers of this process wait for. While Redis does not answer, it tries again:
    a lease outlives 10 s without it."""

    def __init__(self, link: RedisConnection) -> None:
        self.door = f"{_doors_here()}{os.getpid()}-{secrets.token_hex(3)}"
        self._link = link
        self._jobs: Counter[str] = Counter()
        self._answered: list[str] = []
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Announce this process, and keep its leases. Raises `StoreError`.

        A door that was killed on this machine is gone at once: its callers come again before its presence ends.
        """
        gone = ended_here(self.door, await attend(self._link, self.door, ()))
        await attend(self._link, self.door, (), gone=gone)
        self._renewing = asyncio.create_task(self._renew(), name="callers")

    async def stop(self) -> None:
        """Leave the jobs of all callers to their repeats at another door, or at this one after its restart."""
        await cancel_all(self._renewing)
        with contextlib.suppress(StoreError):
            await attend(self._link, self.door, (), answered=self._answered)
            await asyncio.gather(*(let_go(self._link, self.door, job, RESTART_SECONDS) for job in self._jobs))

    def add(self, job_id: str) -> None:
        """A caller waits for a job."""
        self._jobs[job_id] += 1

    def answer(self, job_id: str) -> None:
        """A caller has its answer."""
        self.remove(job_id)
        self._answered.append(job_id)

    def remove(self, job_id: str) -> None:
        """A caller does not wait any more."""
        self._jobs[job_id] -= 1
        if self._jobs[job_id] <= 0:
            del self._jobs[job_id]

    async def let_go(self, job_id: str, linger_seconds: float) -> None:
        """A caller has left without its answer: see `state.attendance`. Redis may be away: then the lease ends."""
        self.remove(job_id)
        if job_id not in self._jobs:
            with contextlib.suppress(StoreError):
                await let_go(self._link, self.door, job_id, linger_seconds)

    async def _renew(self) -> None:
        rounds = round(LEASE_INTERVAL_SECONDS / PRESENCE_INTERVAL_SECONDS)
        number = 0
        gone: tuple[str, ...] = ()
        while True:
            await asyncio.sleep(PRESENCE_INTERVAL_SECONDS)
            number = (number + 1) % rounds
            jobs, answered = () if number else tuple(self._jobs), tuple(self._answered)
            with contextlib.suppress(StoreError):
                present = await attend(self._link, self.door, jobs, gone=gone, answered=answered)
                gone = tuple(ended_here(self.door, present))
                del self._answered[: len(answered)]


def ended_here(own: str, doors: Iterable[str]) -> Iterator[str]:
    """The doors of this machine whose processes have ended. In a container that was restarted the process before this
    one had the same number. A door of a container beside this one may have this machine's name: if it is taken for
    ended, it is present again within a second."""
    for door in doors:
        if door != own and door.startswith(_doors_here()) and not _runs(door.removeprefix(_doors_here())):
            yield door


def _doors_here() -> str:
    return f"door-{socket.gethostname()[:32]}-"


def _runs(process: str) -> bool:
    """Whether the process of `NUMBER-TOKEN` runs, and is not this one under an earlier token."""
    number = process.partition("-")[0]
    if sys.platform == "win32" or not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return int(number) != os.getpid()
