"""What releases a held job, in words."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openfall.producers.age import format_age, format_time

if TYPE_CHECKING:
    from openfall.router_core.catalog.catalog import Catalog
    from openfall.router_core.state.fleet_status import FleetStatus
    from openfall.router_core.state.held_jobs import HeldJob
    from openfall.router_core.state.redis_connection import RedisConnection
    from openfall.router_core.vocabulary import Urgency

MAX_NAMES = 3
"""Models that a sentence names; the rest are counted."""
SWITCHED_OFF, ACCEPTS_CALLS = "local only is switched off", "accepts calls again"


def join_names(names: tuple[str, ...], conjunction: str = "or") -> str:
    """`a`, `a or b`, `a, b, c or 4 more`."""
    rest = len(names) - MAX_NAMES
    shown = [*names[:MAX_NAMES], *([f"{rest} more"] if rest > 0 else [])]
    return f" {conjunction} ".join(filter(None, (", ".join(shown[:-1]), shown[-1] if shown else "")))


def return_by_themselves(count: int, condition: str) -> str:
    """What an operator expects of held jobs that return `when` a condition is met."""
    they = "it returns by itself" if count == 1 else "they return by themselves"
    nothing = f"Nothing to do: {they}" if condition.endswith(ACCEPTS_CALLS) else they.capitalize()
    return f"{nothing} when {condition}"


def configured_models(models: tuple[str, ...], catalog: Catalog) -> tuple[str, ...]:
    """Those of the models that are still configured. Only their return releases a held job."""
    return tuple(model for model in models if model in catalog.models)


@dataclass(frozen=True, slots=True)
class FleetBlocks:
    """What keeps jobs from whole queues: a pause, no worker, the switch. `served`: the queues from which a live worker
    claims."""

    paused: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()
    is_local_only: bool = False

    def end(self, alias: str, urgency: Urgency, catalog: Catalog) -> str:
        """What ends the block of a model, to stand behind `when`. Empty: nothing blocks it."""
        queue = catalog.queue(alias, urgency)
        if self.is_local_only and not catalog.is_local(alias):
            return SWITCHED_OFF
        if queue in self.paused:
            return f"{queue} is resumed"
        return "" if queue in self.served else f"a worker of the pool {catalog.pool_of(alias)} runs"


def blocks_of(status: FleetStatus, *, is_local_only: bool) -> FleetBlocks:
    workers = () if status.suspended else (worker for worker in status.workers if worker.takes_jobs)
    return FleetBlocks(
        frozenset(queue.name for queue in status.queues if queue.paused),
        frozenset(queue for worker in workers for queue in worker.queues),
        is_local_only,
    )


def models_condition(models: tuple[str, ...], catalog: Catalog, blocks: FleetBlocks) -> str:
    """When some models take jobs of any urgency again, to stand behind `when`. Empty: there is no model."""
    ends = [blocks.end(model, urgency, catalog) for model in models for urgency in catalog.urgency]
    if models and all(ends):
        return join_names(tuple(dict.fromkeys(ends)))
    return f"{join_names(models)} {ACCEPTS_CALLS}" if models else ""


async def fetch_blocks(link: RedisConnection, catalog: Catalog) -> FleetBlocks:
    """What keeps jobs from whole queues now."""
    from openfall.router_core.state.fleet_flags import local_only
    from openfall.router_core.state.fleet_status import fetch_status

    status, switch = await asyncio.gather(fetch_status(link), local_only(link))
    return blocks_of(status, is_local_only=switch is not None or catalog.local_only)


def release_condition(job: HeldJob, catalog: Catalog, blocks: FleetBlocks) -> str:
    """When a held job returns by itself, to stand behind `when`. Empty: only an operator returns it."""
    from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason

    models = configured_models(job.release_models, catalog)
    if job.reason not in RELEASED_BY_ITSELF or not models:
        return ""
    if job.reason is HoldReason.BUDGET:
        return "its budget is raised or resets"
    ends = {model: blocks.end(model, job.urgency, catalog) for model in models}
    free = tuple(model for model, end in ends.items() if not end)
    conditions = [end for end in ends.values() if end]
    if free:
        own = {HoldReason.LOCAL_ONLY: SWITCHED_OFF, HoldReason.PAUSED: f"{join_names(free)} is resumed"}
        conditions = [own.get(job.reason, f"{join_names(free)} {ACCEPTS_CALLS}")]
    return join_names(tuple(dict.fromkeys(conditions)))


def operator_act(job: HeldJob) -> str:
    """What an operator does about a held job that does not return by itself."""
    from openfall.router_core.vocabulary import HoldReason

    acts = {
        HoldReason.OWN_FAULT: "correct the request or the checks of its role, then replay or drop it",
        HoldReason.POISONED: "read the end of the log of the last worker, then replay it once or drop it",
        HoldReason.UNREADABLE: "upgrade every worker, then replay it",
    }
    if act := acts.get(job.reason):
        return act
    gone = f"{join_names(job.release_models)} is" if job.release_models else "a model of its chain is"
    return f"replay it when {gone} in the configuration again"


def describe_release(job: HeldJob, now: float, catalog: Catalog, blocks: FleetBlocks) -> str:
    """What releases a held job."""
    until = f"; expires {format_time(job.deadline)}"
    if condition := release_condition(job, catalog, blocks):
        later = f", not before {format_age(job.ready_at - now)} from now" if job.ready_at > now else ""
        return f"by itself, when {condition}{later}{until}"
    return f"openfall held replay {job.id}: {operator_act(job)}{until}"
