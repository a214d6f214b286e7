"""The supervisor: starts Valkey, then engines and workers together; restarts what ends; stops it all in good order.

What happens is told as JSON objects. Each has `event` and, unless it is about the whole fleet, `what` (`valkey`,
`engine-NAME`, `worker-POOL-N`):

    starting                                      notice {text}
    loading {share}                               ready {pid, seconds, and socket or url, adopted}
    exited {code, restarting_in}                  restart_failed {error, restarting_in}
    finished {code}                               gave_up {code or error}
    stopped {code}
    fleet_ready {seconds}   fleet_stopping {}     fleet_stopped {code}

and whatever JSON object with an `event` a worker writes on its standard output, with its `what` added. A negative exit
status is a signal. No event holds a secret.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openfall.workers.local.engine import EngineSpec
from openfall.workers.local.errors import LocalError
from openfall.workers.local.locks import only_one
from openfall.workers.local.pidfile import make_private
from openfall.workers.local.restarter import Restarter
from openfall.workers.local.services import (
    EngineService,
    Report,
    Service,
    ValkeyService,
    WorkerService,
    WorkerSpec,
)
from openfall.workers.local.valkey import ValkeySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPlan:
    """What shall run, with its traces in the directory `data`. An `exclusive` one refuses a second in that directory.

    `grace` in seconds is what workers get after SIGTERM to finish their calls. Workers of a plan with `valkey` find its
    URL in their environment as REDIS_URL.
    """

    data: Path
    valkey: ValkeySpec | None = None
    engines: tuple[EngineSpec, ...] = ()
    workers: tuple[WorkerSpec, ...] = ()
    exclusive: bool = True
    grace: float = 30.0


@dataclass(frozen=True, slots=True)
class _Signals:
    """The first signal asks for a stop, the second for haste."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def came(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


async def run(plan: SupervisorPlan, report: Report) -> int:
    """Run the plan until a signal comes, or until nothing of it is left (workers that all ended by themselves).

    Returns 0, or the worst status of the parts that were given up. `LocalError` if a part cannot be started the first
    time; what was started is stopped before. When `report` raises `OSError`, whoever listened is gone: the fleet stops.
    To be called in the main thread, for the signals; when that thread ends, so does what it started.
    """
    if sys.platform == "win32":
        raise LocalError("The supervisor runs on Linux and macOS. On Windows use WSL, or docker compose up.")
    data = make_private(plan.data)
    signals = _Signals()

    def tell(event: dict[str, Any]) -> None:
        try:
            report(event)
        except OSError:
            signals.stop.set()

    with only_one(data / "up.lock", "openfall up") if plan.exclusive else nullcontext(), _caught(signals):
        return await _run(_tiers(plan, data, tell), signals, tell)


@contextmanager
def _caught(signals: _Signals) -> Iterator[None]:
    """SIGHUP too: a closed terminal would otherwise end us, and so everything else at the same moment."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, signals.came)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _tiers(
    plan: SupervisorPlan, data: Path, report: Report
) -> tuple[list[Restarter], list[Restarter], list[Restarter]]:
    """Valkey, engines, workers."""
    environment: dict[str, str] = {}

    def kept(parts: Sequence[Service]) -> list[Restarter]:
        return [Restarter(part, report) for part in parts]

    return (
        kept([ValkeyService(plan.valkey, environment)] if plan.valkey else []),
        kept([EngineService(spec, data) for spec in plan.engines]),
        kept(
            [
                WorkerService(spec, number, data, environment, plan.grace)
                for spec in plan.workers
                for number in range(1, spec.procs + 1)
            ]
        ),
    )


async def _run(tiers: tuple[list[Restarter], ...], signals: _Signals, report: Report) -> int:
    work = asyncio.create_task(_work(tiers, report))
    stop = asyncio.create_task(signals.stop.wait())
    try:
        await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()
        stop.cancel()
        failure = (await asyncio.gather(work, stop, return_exceptions=True))[0]
        report({"event": "fleet_stopping"})
        for tier in reversed(tiers):  # workers settle into Valkey, and their calls end in the engines
            await asyncio.gather(*(keeper.stop(signals.hurry) for keeper in tier))
    if isinstance(failure, BaseExceptionGroup):
        raise _first(failure)
    code = max((keeper.code for tier in tiers for keeper in tier), default=0)
    report({"event": "fleet_stopped", "code": code})
    return code


async def _work(tiers: tuple[list[Restarter], ...], report: Report) -> None:
    """Keep everything running; Valkey answers before the rest is started. Ends when nothing is left to be kept."""
    began = time.monotonic()
    first, *rest = tiers
    later = [keeper for tier in rest for keeper in tier]
    async with asyncio.TaskGroup() as group:
        for keepers in (first, later):
            for keeper in keepers:
                group.create_task(keeper.keep())
            for keeper in keepers:
                await keeper.settled.wait()
        report({"event": "fleet_ready", "seconds": round(time.monotonic() - began, 3)})


def _first(failure: BaseExceptionGroup[BaseException]) -> BaseException:
    """One reason is enough for a person: the first `LocalError`, unless there is worse."""
    known, unknown = failure.split(LocalError)
    return unknown or (known.exceptions[0] if known else failure)


__all__ = ["EngineSpec", "LocalError", "Report", "SupervisorPlan", "ValkeySpec", "WorkerSpec", "run"]
