"""The workers of a run, and the supervisor that replaces each one that is gone."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks.processes import BenchmarkError, Child, started
from benchmarks.torturing.arena import BOOT, Chronicle, Store, now_ms

T = TypeVar("T")

LOOK = 0.03
"""Seconds between two looks at who is still alive."""

STOP = 60.0
"""Seconds a worker gets to end after SIGTERM: more than its grace."""

REDIS_AWAY = 3
"""How a worker says at its start that there is no Redis."""


class Workplace(Protocol):
    """What a crew has to know of where it works."""

    @property
    def directory(self) -> Path: ...

    @property
    def store(self) -> Store: ...

    @property
    def chronicle(self) -> Chronicle: ...

    def worker_argv(self, pool: str) -> list[str]:
        """The command line of a worker of that pool."""
        ...


@dataclass
class Member:
    """One worker. `told`: we ended it, or told it to end. `away`: frozen or being replaced, so left in peace."""

    pool: str
    child: Child
    stack: ExitStack
    born: float
    told: bool = False
    away: bool = False
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
class Crew:
    """Who works. Enough are kept alive until the crew is dismissed."""

    place: Workplace
    members: list[Member] = field(default_factory=list)
    born: int = 0
    closing: bool = False

    def hire(self, pool: str) -> Member:
        """Start one worker."""
        self.born += 1
        log = self.place.directory / f"worker-{self.born:03}-{pool}.log"
        stack, born = ExitStack(), now_ms()
        child = stack.enter_context(started(self.place.worker_argv(pool), log))
        self.members.append(Member(pool, child, stack, born))
        return self.members[-1]

    async def supervise(self) -> None:
        """Replace whoever is gone, for ever."""
        while True:
            for member in [member for member in self.members if member.gone]:
                self.bury(member)
                if not self.closing:
                    self.hire(member.pool)
            await asyncio.sleep(LOOK)

    def bury(self, member: Member) -> None:
        """Take a dead worker off the list, and complain when nobody had told it to end."""
        self.members.remove(member)
        member.stack.close()
        code = member.child.popen.returncode
        excused = code == REDIS_AWAY and self.place.chronicle.excuses(member.born, now_ms())
        if not member.told and not excused:
            said = f"a worker ended by itself with {code}: {member.child.said}"
            self.place.chronicle.complaints.append(said)
            if not member.announced:
                raise BenchmarkError(said)  # the next one would fare no better

    def busy_or_idle(self, enough: int) -> tuple[list[Member], list[Member]]:
        """The workers that may be tormented: those with calls in flight, and all."""
        free = self.at_peace("gpu")
        calls = Counter() if self.place.chronicle.outage_now else self.place.store.in_flight()
        return [member for member in free if calls[member.pid] >= enough], free

    def at_peace(self, pool: str) -> list[Member]:
        """The ready workers of a pool that nothing has befallen."""
        return [m for m in self.members if m.pool == pool and m.ready and not (m.told or m.away)]

    async def of(self, pool: str) -> Member:
        """A ready worker of a pool that is left in peace."""
        return await until(lambda: next((m for m in self.members if m.pool == pool and m.ready and not m.told), None))

    async def dismiss(self, member: Member) -> None:
        """SIGTERM to one worker, and see it end in good order."""
        member.told = True
        member.send(signal.SIGTERM)
        await until(lambda: member.gone or None, STOP, f"worker {member.pid} to end after SIGTERM")
        if code := member.child.popen.returncode:
            said = f"a worker that was told to end did so with {code}: {member.child.said}"
            self.place.chronicle.complaints.append(said)

    async def dismiss_all(self) -> None:
        """The end of the run."""
        self.closing = True
        await asyncio.gather(*(self.dismiss(member) for member in list(self.members)))

    def close(self) -> None:
        """End whoever is still there, frozen ones too."""
        for member in self.members:
            member.stack.close()


async def until(look: Callable[[], T | None], seconds: float = BOOT, what: str = "a worker to be ready") -> T:
    """The first thing that `look` finds; `BenchmarkError` when the time is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (found := look()) is None:
        if loop.time() > end:
            raise BenchmarkError(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(LOOK)
    return found
