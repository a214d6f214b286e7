"""Pools that no worker serves, workers that an operator keeps from jobs, and a gateway that is away."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from openfall.producers.amount_text import describe_waiting
from openfall.producers.last_worker_text import describe_start, start_command
from openfall.producers.operator_note import describe_author, find_quiet
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.model_calls import NO_WORKER
from openfall.producers.page.sources import CLIENT_KEYS
from openfall.producers.runbook import RunbookSection
from openfall.producers.shell_command import shell_command
from openfall.router_core.state.fleet_status import WorkerStatus
from openfall.router_core.state.keys import pool_of


def pools_without_worker(silent: Mapping[str, Mapping[str, str]], snapshot: PageSnapshot) -> list[str]:
    """The configured pools from which no worker claims although jobs wait there, or a role has no other model."""
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
    return sorted((needed - served) & catalog.pools.keys())


def worker_causes(pools: Collection[str], snapshot: PageSnapshot) -> Iterator[Cause]:
    """What is wrong with the workers."""
    quiet = [worker for worker in snapshot.status.workers if worker.alive and worker.quiet]
    kept_by_quiet = [pool for pool in pools if any(pool in map(pool_of, worker.queues) for worker in quiet)]
    for pool in pools:
        if pool not in kept_by_quiet:
            yield _of_pool(pool, snapshot)
    if quiet:
        yield _of_quiet(quiet, kept_by_quiet, snapshot)


def gateway_causes(snapshot: PageSnapshot) -> Iterator[Cause]:
    """No gateway, although callers have keys of one. Without keys a fleet may have none."""
    count = snapshot.sources.get(CLIENT_KEYS.name, 0)
    if count and not snapshot.status.gateways:
        yield Cause(
            text="No gateway is alive",
            effect="A caller has a key of one" if count == 1 else f"{count:,} callers have keys of one",
            advice="Start it on its host",
            remedy="openfall serve, or systemctl restart openfall-serve",
            runbook=RunbookSection.GATEWAY_AWAY,
        )


def _of_quiet(quiet: Sequence[WorkerStatus], pools: Sequence[str], snapshot: PageSnapshot) -> Cause:
    """`pools`: those that no other worker serves."""
    by = {worker.name: describe_author(find_quiet(snapshot.audit, worker.name)) for worker in quiet[:3]}
    names = ", ".join(f"{name} ({author})" if author else name for name, author in by.items())
    names += f" and {len(quiet) - 3} more" if quiet[3:] else ""
    is_everyone = len(quiet) == sum(worker.alive for worker in snapshot.status.workers) and snapshot.status.waiting > 0
    alone = f"No other worker serves the pool{'s' if pools[1:] else ''} {', '.join(pools)}" if pools else ""
    return Cause(
        text=f"An operator keeps {names} from further jobs",
        health=FleetHealth.FAILING if is_everyone or pools else FleetHealth.IMPAIRED,
        effect=": ".join(filter(None, (alone, describe_waiting(_waiting(pools, snapshot))))),
        advice="Resume to end it",
        remedy=shell_command("openfall workers resume", quiet[0].name if len(quiet) == 1 else "NAME"),
        action="resume-worker",
        buttons=tuple((worker.name, f"Resume {worker.name}") for worker in quiet[:3]),
        section="workers",
        runbook=RunbookSection.WORKER_QUIET,
    )


def _of_pool(pool: str, snapshot: PageSnapshot) -> Cause:
    last = [worker for worker in snapshot.status.last_workers if worker.pool == pool]
    return Cause(
        text=f"No worker serves the pool {pool}",
        health=FleetHealth.FAILING,
        since=last[0].beat_at if last else None,
        effect=describe_waiting(_waiting([pool], snapshot)),
        advice=describe_start(last),
        remedy=start_command(pool, last),
        host=last[0].host if last else "",
        section="workers",
        runbook=RunbookSection.NO_WORKER,
    )


def _waiting(pools: Collection[str], snapshot: PageSnapshot) -> int:
    return sum(queue.waiting for queue in snapshot.status.queues if pool_of(queue.name) in pools)
