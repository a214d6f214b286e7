"""The supervisor starts Valkey, then engines and workers together, restarts them, and stops them in the reverse order.

It reports events as JSON objects. Each has `event` and, unless it is about the whole fleet, `what` (`valkey`,
`engine-NAME`, `worker-POOL-N`, `gateway`):

    starting                                      notice {text}
    loading {share}                               ready {pid, seconds, and socket or url, adopted}
    exited {code, restarting_in}                  restart_failed {error, restarting_in}
    finished {code}                               gave_up {code or error}
    stopped {code}
    fleet_ready {seconds}   fleet_stopping {}     fleet_stopped {code}

It adds `what` to every JSON object with an `event` that a worker writes on its standard output, and reports that too. A
negative exit status is a signal. No event holds a secret.

Every process that it starts ends when the supervisor ends, even by SIGKILL (`die_with_parent`). An adopted service of
another owner keeps running.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openfall.workers.local.engine import EngineSpec
from openfall.workers.local.errors import LocalError
from openfall.workers.local.locks import only_one
from openfall.workers.local.private_files import make_private
from openfall.workers.local.restarter import Report, Restarter, Service
from openfall.workers.local.services import EngineService, ValkeyService, WorkerService, WorkerSpec
from openfall.workers.stop_signals import handle_stop_signals


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorPlan:
    """The services to run, with their files in the directory `data`. An `exclusive` plan refuses a second one there.

    After SIGTERM workers have `grace` seconds to finish their calls. Workers of a plan with `valkey` find its URL in
    their environment as REDIS_URL.
    """

    data: Path
    valkey: bool = False
    engines: tuple[EngineSpec, ...] = ()
    workers: tuple[WorkerSpec, ...] = ()
    exclusive: bool = True
    grace: float = 30.0


async def run(plan: SupervisorPlan, report: Report) -> int:
    """Run the plan until a signal, or until all of its services have ended by themselves.

    Returns 0, or the highest exit status among the services that it gave up. `LocalError` if a first start fails; the
    services that run are stopped before. An `OSError` of `report` means that its reader has ended: the fleet stops.
    Call it in the main thread, which receives the signals. When that thread ends, so do the services.
    """
    if sys.platform == "win32":
        raise LocalError("The supervisor runs on Linux and macOS. On Windows use WSL, or docker compose up.")
    data = make_private(plan.data)
    stop, stop_now = asyncio.Event(), asyncio.Event()  # the first signal stops, the second shortens the grace

    def emit(event: dict[str, Any]) -> None:
        try:
            report(event)
        except OSError:
            stop.set()

    handle_stop_signals(stop.set, stop_now.set)
    with only_one(data / "up.lock", "openfall up") if plan.exclusive else nullcontext():
        return await _run(_tiers(plan, data, emit), emit, stop, stop_now)


def _tiers(plan: SupervisorPlan, data: Path, report: Report) -> list[list[Restarter]]:
    """Valkey, engines, workers."""
    environment: dict[str, str] = {}
    tiers: tuple[Sequence[Service], ...] = (
        [ValkeyService(data, environment)] if plan.valkey else [],
        [EngineService(spec, data) for spec in plan.engines],
        [
            WorkerService(spec, number, data, environment, plan.grace)
            for spec in plan.workers
            for number in range(1, spec.procs + 1)
        ],
    )
    return [[Restarter(service, report) for service in tier] for tier in tiers]


async def _run(tiers: list[list[Restarter]], report: Report, stop: asyncio.Event, stop_now: asyncio.Event) -> int:
    await _require_ports([restarter.service for tier in tiers for restarter in tier])
    work = asyncio.create_task(_run_tiers(tiers, report))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()
        stopping.cancel()
        failure = (await asyncio.gather(work, stopping, return_exceptions=True))[0]
        report({"event": "fleet_stopping"})
        for tier in reversed(tiers):  # workers settle into Valkey, and their calls end in the engines
            await asyncio.gather(*(restarter.stop(stop_now) for restarter in tier))
    if isinstance(failure, BaseExceptionGroup):
        raise _first_error(failure)
    code = max((restarter.code for tier in tiers for restarter in tier), default=0)
    report({"event": "fleet_stopped", "code": code})
    return code


async def _require_ports(services: Sequence[Service]) -> None:
    """Raise one `LocalError` that names every taken port, if a service that the fleet needs cannot have its own."""
    conflicts = await asyncio.gather(*(service.describe_port_conflict() for service in services))
    if any(conflict and not service.optional for service, conflict in zip(services, conflicts, strict=True)):
        raise LocalError("\n".join(filter(None, conflicts)))


async def _run_tiers(tiers: list[list[Restarter]], report: Report) -> None:
    """Run all restarters. Valkey is ready before the others start. Ends when every restarter has ended."""
    began = time.monotonic()
    first, *rest = tiers
    others = [restarter for tier in rest for restarter in tier]
    async with asyncio.TaskGroup() as group:
        for restarters in (first, others):
            for restarter in restarters:
                group.create_task(restarter.run())
            for restarter in restarters:
                await restarter.ready.wait()
        report({"event": "fleet_ready", "seconds": round(time.monotonic() - began, 3)})


def _first_error(failure: BaseExceptionGroup[BaseException]) -> BaseException:
    """One error is enough for a person: the first `LocalError`, unless there is an unexpected one."""
    known, unknown = failure.split(LocalError)
    return unknown or (known.exceptions[0] if known else failure)
