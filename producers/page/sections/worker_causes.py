"""Pools that no worker serves, and workers that an operator keeps from jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from openfall.producers.last_worker_text import describe_start, start_command
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth, describe_waiting
from openfall.producers.page.sections.model_calls import NO_WORKER
from openfall.producers.runbook import RunbookSection
from openfall.router_core.state.keys import pool_of


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
    yield Cause(
        text=text,
        health=health,
        advice="Resume to end it",
        remedy=f"openfall workers resume {quiet[0].name if len(quiet) == 1 else 'NAME'}",
        action="resume-worker",
        buttons=tuple((worker.name, f"Resume {worker.name}") for worker in quiet[:3]),
        section="workers",
        runbook=RunbookSection.WORKER_QUIET,
    )


def _of_pool(pool: str, snapshot: PageSnapshot) -> Cause:
    waiting = sum(queue.waiting for queue in snapshot.status.queues if pool_of(queue.name) == pool)
    jobs = f", where {describe_waiting(waiting)}" if waiting else ""
    text = f"No worker serves the pool {pool}{jobs}"
    quiet = [worker.name for worker in snapshot.status.workers if worker.alive and pool in map(pool_of, worker.queues)]
    last = [worker for worker in snapshot.status.last_workers if worker.pool == pool]
    return Cause(
        text=f"{text}: {quiet[0]} is quiet" if quiet else text,
        health=FleetHealth.FAILING,
        since=None if quiet or not last else last[0].beat_at,
        advice="Resume it" if quiet else describe_start(last),
        remedy=f"openfall workers resume {quiet[0]}" if quiet else start_command(pool, last),
        section="workers",
        runbook=RunbookSection.NO_WORKER,
    )
