"""Pools that no worker serves, and workers that an operator keeps from jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from openfall.producers.duration_text import format_age
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth, count_held, describe_jobs
from openfall.producers.page.sections.model_calls import NO_WORKER
from openfall.producers.runbook import RunbookSection
from openfall.router_core.state.fleet_status import WorkerStatus
from openfall.router_core.state.keys import pool_of
from openfall.router_core.vocabulary import Urgency


def pools_without_worker(silent: Mapping[str, Mapping[str, str]], snapshot: PageSnapshot) -> list[str]:
    """The pools from which no worker claims although jobs wait there, or although a role has no other model."""
    catalog, workers = snapshot.catalog, [worker for worker in snapshot.status.workers if worker.takes_jobs]
    if not workers or snapshot.status.suspended:
        return []
    served = {pool_of(queue) for worker in workers for queue in worker.queues}
    needed = {pool_of(queue.name) for queue in snapshot.status.unserved} | {
        catalog.pool_of(alias)
        for obstacles in silent.values()
        for alias, obstacle in obstacles.items()
        if obstacle == NO_WORKER
    }
    return sorted(needed - served)


def worker_causes(pools: Collection[str], snapshot: PageSnapshot) -> Iterator[Cause]:
    """What is wrong with the workers."""
    for pool in pools:
        yield _of_pool(pool, snapshot)
    quiet = [worker for worker in snapshot.status.workers if worker.alive and worker.quiet]
    if not quiet:
        return
    names = ", ".join(worker.name for worker in quiet[:3]) + (f" and {len(quiet) - 3} more" if quiet[3:] else "")
    is_everyone = len(quiet) == sum(worker.alive for worker in snapshot.status.workers) and snapshot.status.waiting > 0
    health = FleetHealth.FAILING if is_everyone else FleetHealth.IMPAIRED
    text = f"An operator keeps {names} from further jobs"
    name = quiet[0].name if len(quiet) == 1 else ""
    yield Cause(
        text=text,
        health=health,
        advice="Resume to end it",
        remedy=f"openfall workers resume {name or 'NAME'}",
        action="resume-worker" if name else "",
        subject=name,
        label=f"Resume {name}",
        section="workers",
        runbook=RunbookSection.WORKER_QUIET,
    )


def _of_pool(pool: str, snapshot: PageSnapshot) -> Cause:
    waiting = sum(queue.waiting for queue in snapshot.status.queues if pool_of(queue.name) == pool)
    catalog = snapshot.catalog
    queues = {catalog.queue(alias, urgency) for alias in catalog.models_of(pool) for urgency in Urgency}
    counted = describe_jobs(waiting, count_held(queues, snapshot))
    jobs = f", where {counted}" if counted else ""
    gone = [worker for worker in snapshot.status.workers if _served(worker, pool) and not worker.alive]
    last = min(gone, key=_silence, default=None)
    others = f" and {len(gone) - 1} more were" if gone[1:] else " was"
    was = f"; {last.name} on {last.host}{others} there until {format_age(_silence(last))} ago" if last else ""
    is_quiet = any(_served(worker, pool) and worker.alive for worker in snapshot.status.workers)
    remedy = "openfall workers resume NAME" if is_quiet else f"openfall work {pool}"
    text = f"No worker serves the pool {pool}{jobs}{was}"
    advice = "Resume it" if is_quiet else f"Start one on the machine of the pool{f', {last.host}' if last else ''}"
    return Cause(
        text=text,
        health=FleetHealth.FAILING,
        advice=advice,
        remedy=remedy,
        section="workers",
        runbook=RunbookSection.NO_WORKER,
    )


def _served(worker: WorkerStatus, pool: str) -> bool:
    return any(pool_of(queue) == pool for queue in worker.queues)


def _silence(worker: WorkerStatus) -> float:
    return worker.heartbeat_age_seconds or 0.0
