"""Selects held jobs by ids or filters, replays and drops them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeVar

from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import parse_duration
from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.state.fleet_snapshot import FleetSnapshot, fetch_fleet_snapshot
from openfall.router_core.state.held_jobs import HeldFilter, HeldJob, drop_held, fetch_held, list_held, replay_held
from openfall.router_core.state.job_search import find_held_job
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason, Urgency

BATCH_SIZE = 64
"""Jobs that are replayed, dropped or read concurrently."""

T = TypeVar("T")
OnProgress = Callable[[int], object]
OnSkipped = Callable[[str], object]


def _ignore(_value: object) -> None:
    return None


def describe_returned(count: int) -> str:
    """`1 job returned to its queue`, `3 jobs returned to their queues`."""
    return "1 job returned to its queue" if count == 1 else f"{count:,} jobs returned to their queues"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSelection:
    """Ids or filters of held jobs. `ready`: those that return by themselves, with a model that
    takes calls now: a poisoned job is none of them."""

    ids: tuple[str, ...] = ()
    role: str | None = None
    reason: str | None = None
    since: str | None = None
    ready: bool = False
    all: bool = False
    label: str = ""
    """How the audit log names it; empty: by its ids or filters."""

    @property
    def is_narrowed(self) -> bool:
        return bool(self.role or self.reason or self.since or self.ready)

    def __str__(self) -> str:
        if self.label:
            return self.label
        filters = [f"{name}={value}" for name in ("role", "reason", "since") if (value := getattr(self, name))]
        return " ".join([*self.ids, *filters, *(["ready"] if self.ready else [])]) or "all"


async def _held_filter(llm: AsyncOpenfall, selection: HeldSelection) -> HeldFilter:
    if selection.reason is not None and selection.reason not in set(HoldReason):
        raise UnknownName("reason", selection.reason, [reason.value for reason in HoldReason])
    if selection.role is not None and selection.role not in llm.config.catalog.roles:
        raise UnknownName("role", selection.role, llm.config.catalog.roles)
    since = (
        None if selection.since is None else await llm.store.server_time() - parse_duration(selection.since, "since")
    )
    return HeldFilter(
        role=selection.role, reason=HoldReason(selection.reason) if selection.reason else None, since=since
    )


async def selected_jobs(
    llm: AsyncOpenfall, selection: HeldSelection, on_skipped: OnSkipped = _ignore
) -> AsyncIterator[HeldJob]:
    """Yield the selected jobs. `on_skipped` is called with a sentence about each id that is not held."""
    if selection.ids:
        ids = dict.fromkeys([await find_held_job(llm.store.connection, typed) for typed in selection.ids])
        held = {job.id: job for job in await fetch_held(llm.store.connection, list(ids))}
        for id_ in ids:
            if id_ not in held:
                record = await llm.record(id_)
                on_skipped(f"{id_} is not held: it is {record.result.status if record.result else record.state}")
        for job in held.values():
            yield job
        return
    snapshot = await fetch_fleet_snapshot(llm.store.connection, llm.config.catalog) if selection.ready else None
    takes_calls = frozenset() if snapshot is None else _available_models(llm.config.catalog, snapshot)
    async for job in list_held(llm.store.connection, await _held_filter(llm, selection)):
        if snapshot is None or is_ready(job, takes_calls.intersection(await _models(llm, job)), snapshot.now):
            yield job


def is_ready(job: HeldJob, takes_calls: Collection[str], now: float) -> bool:
    """Whether a held job could be called now: it returns by itself, one of its models takes calls (`takes_calls`), and
    its budget has not to reset first."""
    waits_for_budget = job.reason is HoldReason.BUDGET and job.ready_at > now
    return job.reason in RELEASED_BY_ITSELF and bool(takes_calls) and not waits_for_budget


def _available_models(catalog: Catalog, snapshot: FleetSnapshot) -> frozenset[str]:
    """The models that accept calls now. One that its card would have to load first does not."""
    fleet = snapshot.fleet_state(Urgency.BACKGROUND)
    states = {alias: fleet.model(alias) for alias in catalog.models}
    return frozenset(alias for alias, state in states.items() if state.blocked is None and not state.starts_in)


async def _models(llm: AsyncOpenfall, job: HeldJob) -> tuple[str, ...]:
    """The models that may answer a held job: those that release it, or its chain."""
    if job.release_models:
        return job.release_models
    try:
        record = await llm.record(job.id)
    except UnreadableEnvelope:
        return ()
    return record.job.chain if record.job else ()


async def apply_to_each(
    jobs: AsyncIterator[HeldJob], step: Callable[[HeldJob], Awaitable[T]], on_progress: OnProgress = _ignore
) -> list[tuple[str, T]]:
    """Apply a step to every job; each id with its result. `on_progress` is called with how many are done."""
    results: list[tuple[str, T]] = []
    async for chunk in _chunks(jobs, BATCH_SIZE):
        results += zip((job.id for job in chunk), await asyncio.gather(*map(step, chunk)), strict=True)
        on_progress(len(results))
    return results


async def replay_jobs(
    operator: Operator,
    selection: HeldSelection,
    on_progress: OnProgress = _ignore,
    on_skipped: OnSkipped = _ignore,
) -> dict[str, str]:
    """Return held jobs to their queues; each id with its state now."""
    jobs = selected_jobs(operator.llm, selection, on_skipped)
    states = dict(await apply_to_each(jobs, lambda job: replay_held(operator.link, job.id), on_progress))
    queued = sum(state == "queued" for state in states.values())
    await operator.note("held.replay", _subject(selection, states), describe_returned(queued))
    return states


async def drop_jobs(
    operator: Operator,
    selection: HeldSelection,
    on_progress: OnProgress = _ignore,
    on_skipped: OnSkipped = _ignore,
) -> list[str]:
    """End held jobs without an answer; the ids of those that were."""
    jobs = selected_jobs(operator.llm, selection, on_skipped)
    results = await apply_to_each(jobs, lambda job: drop_held(operator.link, job), on_progress)
    dropped = [id_ for id_, ok in results if ok]
    await operator.note("held.drop", _subject(selection, dict(results)), f"{len(dropped)} dropped")
    return dropped


def _subject(selection: HeldSelection, ids: Collection[str]) -> str:
    """What the audit log names: whole ids in place of the first letters that a person typed."""
    if selection.label or not (selection.ids and ids):
        return str(selection)
    return str(replace(selection, ids=tuple(ids)))


async def _chunks(items: AsyncIterator[T], size: int) -> AsyncIterator[list[T]]:
    """Group items into chunks of a size."""
    chunk: list[T] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
