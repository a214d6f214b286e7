"""What releases a held job, in words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from openfall.producers.card_wait_reason import CardLoad, pending_loads
from openfall.producers.crash_text import describe_crashes
from openfall.producers.duration_text import format_age, format_time
from openfall.producers.outage_text import Away, fetch_away, models_away
from openfall.producers.shell_command import shell_command
from openfall.producers.worker_log_text import describe_log_at
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import fetch_managed_cards
from openfall.router_core.state.fleet_status import FleetStatus, fetch_status
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.state.keys import pool_of
from openfall.router_core.state.operator_switches import local_only
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason, Urgency

MAX_NAMES = 3
"""Models that a sentence names; the rest are counted."""
ACCEPTS_CALLS, HAS_ROOM = "accepts calls again", "has a free slot"
IF_LATE = "may be called because the job is late"
EXPECTED_BY_CARD = "which the manager of the card expects in about"
"""Stands before the time until a model is loaded: the estimate is that of a live worker."""


class Condition(NamedTuple):
    """What must be so before a held job returns: `change` is a verb of `subject`."""

    subject: str
    change: str


SWITCHED_OFF = Condition("local only", "is switched off")


def join_names(names: tuple[str, ...], conjunction: str = "or") -> str:
    """`a`, `a or b`, `a, b, c or 4 more`."""
    rest = len(names) - MAX_NAMES
    shown = [*names[:MAX_NAMES], *([f"{rest} more"] if rest > 0 else [])]
    return f" {conjunction} ".join(filter(None, (", ".join(shown[:-1]), shown[-1] if shown else "")))


def describe_conditions(conditions: Iterable[Condition]) -> str:
    """The conditions, to stand behind `when`. Subjects of one change are named together."""
    subjects: dict[str, dict[str, None]] = {}
    for condition in conditions:
        subjects.setdefault(condition.change, {})[condition.subject] = None
    return join_names(tuple(f"{join_names(tuple(names))} {change}" for change, names in subjects.items()))


def return_by_themselves(count: int, conditions: Sequence[Condition]) -> str:
    """What an operator expects of held jobs that return when conditions are met."""
    they = "It returns by itself" if count == 1 else "They return by themselves"
    return f"{they} when {describe_conditions(conditions)}"


def configured_models(models: tuple[str, ...], catalog: Catalog) -> tuple[str, ...]:
    """Those of the models that are still configured. Only their return releases a held job."""
    return tuple(model for model in models if model in catalog.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetBlocks:
    """What keeps jobs from models: a pause, no worker, the switch, an outage, a card that holds other models. `served`:
    the queues from which a live worker claims. `away`: the models that take no calls anywhere. `loads`: those that wait
    for their card, with the card."""

    paused: frozenset[str]
    served: frozenset[str]
    is_local_only: bool
    away: frozenset[str]
    loads: Mapping[str, CardLoad]

    def queue_block(self, alias: str, urgency: Urgency, catalog: Catalog) -> Condition | None:
        """What ends the block of the queue of a model. None: nothing blocks it."""
        queue = catalog.queue(alias, urgency)
        if self.is_local_only and not catalog.is_local(alias):
            return SWITCHED_OFF
        if queue in self.paused:
            return Condition(queue, "is resumed")
        return None if queue in self.served else Condition(f"a worker of the pool {catalog.pool_of(alias)}", "runs")

    def is_probed(self, backends: Iterable[str], catalog: Catalog) -> bool:
        """Whether a live worker probes the models of backends, or calls them."""
        pools = {pool_of(queue) for queue in self.served}
        if self.is_local_only:
            pools = {pool for pool in pools if pool in catalog.pools and catalog.pools[pool].local}
        return any(catalog.backends[backend].pool in pools for backend in backends)

    def return_of(self, alias: str) -> Condition:
        """When a model whose queue nothing blocks is called for a held job.

        The degrade worker releases a few jobs at once to a model that takes calls, and one more for each answer. So a
        job that is still held waits for the answer of one before it, and that one waits for a slot, or for the card.
        """
        if alias in self.away:
            return Condition(alias, ACCEPTS_CALLS)
        load = self.loads.get(alias)
        return Condition(alias, HAS_ROOM if load is None else f"is loaded on card {load.card}")


def blocks_of(
    status: FleetStatus, away: Sequence[Away], cards: Mapping[str, CardState], catalog: Catalog, *, is_local_only: bool
) -> FleetBlocks:
    workers = () if status.suspended else (worker for worker in status.workers if worker.takes_jobs)
    return FleetBlocks(
        paused=frozenset(queue.name for queue in status.queues if queue.paused),
        served=frozenset(queue for worker in workers for queue in worker.queues),
        is_local_only=is_local_only,
        away=models_away(away, catalog),
        loads=pending_loads(cards, catalog, status.now),
    )


async def fetch_blocks(link: RedisConnection, catalog: Catalog) -> FleetBlocks:
    """What keeps jobs from models now."""
    status, switch, away, cards = await asyncio.gather(
        fetch_status(link), local_only(link), fetch_away(link, catalog), fetch_managed_cards(link, catalog)
    )
    return blocks_of(status, away, cards, catalog, is_local_only=switch is not None or catalog.local_only)


def release_condition(job: HeldJob, catalog: Catalog, blocks: FleetBlocks) -> str:
    """When a held job returns by itself, to stand behind `when`. Empty: only an operator returns it."""
    return describe_conditions(release_conditions(job, catalog, blocks))


def release_conditions(job: HeldJob, catalog: Catalog, blocks: FleetBlocks) -> list[Condition]:
    """What returns a held job, each by itself. Empty: only an operator returns it."""
    models = configured_models(job.release_models, catalog)
    late = [Condition(model, IF_LATE) for model in configured_models(job.late_models, catalog)]
    if job.reason not in RELEASED_BY_ITSELF or not models:
        return late
    if job.reason is HoldReason.BUDGET:
        return [Condition("its budget", "is raised enough or resets")]
    ends = {model: blocks.queue_block(model, job.urgency, catalog) for model in models}
    free = [model for model, end in ends.items() if end is None]
    if not free:
        return [*(end for end in ends.values() if end is not None), *late]
    return [*map(blocks.return_of, free), *late]


def expected_return(job: HeldJob, catalog: Catalog, blocks: FleetBlocks) -> float | None:
    """When the card of a held job should have its model, in epoch seconds. None: it waits for no card, or for something
    else too."""
    models = configured_models(job.release_models, catalog)
    is_blocked = any(blocks.queue_block(model, job.urgency, catalog) or model in blocks.away for model in models)
    if job.reason is not HoldReason.OUTAGE or is_blocked:
        return None
    starts = (blocks.loads[model].starts.get(job.urgency) for model in models if model in blocks.loads)
    return min(filter(None, starts), default=None)


def operator_act(*jobs: HeldJob) -> str:
    """What an operator does about held jobs of one reason that do not return by themselves."""
    it, its = ("it", "its") if len(jobs) == 1 else ("them", "their")
    logs = _distinct(describe_log_at(job.crash_log, job.crash_host) for job in jobs)
    at = f" ({join_names(logs, 'and')})" if logs else ""
    acts = {
        HoldReason.OWN_FAULT: f"correct the request or the checks of {its} role, then replay or drop {it}",
        HoldReason.POISONED: f"read the end of the log of {its} last worker{at}, then replay {it} once or drop {it}",
        HoldReason.UNREADABLE: f"upgrade every worker, then replay {it}",
    }
    if act := acts.get(jobs[0].reason):
        return act
    models = _distinct(model for job in jobs for model in job.release_models)
    return f"replay {it} when {join_names(models) or f'a model of {its} chain'} is in the configuration again"


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, texts)))


def hold_meaning(*jobs: HeldJob) -> str:
    """What the reason means for which an operator decides about held jobs."""
    it = "it" if len(jobs) == 1 else "each"
    crashes = describe_crashes(jobs[0].crashes) if len(jobs) == 1 else "Workers died while they ran each of them"
    meanings = {
        HoldReason.OWN_FAULT: f"Every model refused {it}, or no answer passed the checks of its role",
        HoldReason.POISONED: f"{crashes}, so no worker runs {'it' if len(jobs) == 1 else 'them'} again",
        HoldReason.UNREADABLE: f"A newer openfall wrote {it}, or it is damaged",
    }
    return meanings.get(jobs[0].reason, "")


def describe_release(job: HeldJob, now: float, catalog: Catalog, blocks: FleetBlocks) -> str:
    """What releases a held job."""
    until = f"; expires {format_time(job.deadline)}"
    if condition := release_condition(job, catalog, blocks):
        later = f", not before {format_age(job.ready_at - now)} from now" if job.ready_at > now else ""
        if job.late_models and job.late_at > now:
            later += f", which it is {format_age(job.late_at - now)} from now"
        start = expected_return(job, catalog, blocks)
        later += f", {EXPECTED_BY_CARD} {format_age(max(0.0, start - now))}" if start is not None else ""
        return f"by itself, when {condition}{later}{until}"
    return f"{operator_act(job)} ({shell_command('openfall held replay', job.id)}){until}"
