"""Selects held jobs by ids or filters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from openfall.producers.cli.options import add_options, check_id
from openfall.producers.cli.progress import Progress
from openfall.producers.cli.terminal import print_line

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.held_jobs import HeldFilter, HeldJob

BATCH_SIZE = 64
"""Jobs that are replayed, dropped or read concurrently."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOptions:
    """Ids or filters of held jobs."""

    ids: tuple[str, ...] = ()
    role: str | None = None
    reason: str | None = None
    since: str | None = None
    ready: bool = False
    all: bool = False

    @property
    def narrowed(self) -> bool:
        return bool(self.role or self.reason or self.since or self.ready)

    def check(self) -> None:
        """Reject a command that changes jobs and names none: a forgotten argument must not drop everything."""
        if not (self.ids or self.narrowed or self.all):
            raise click.UsageError("which jobs? Name job ids, or a filter such as --role, --reason, --since, --all.")
        if self.ids and (self.narrowed or self.all):
            raise click.UsageError("name job ids or filters, not both")


filter_options = add_options(
    click.option("--role", help="Only jobs of this role."),
    click.option("--reason", help="Only jobs held for this reason: outage, local_only, budget, own_fault ..."),
    click.option("--since", metavar="DURATION", help="Only jobs held within this time: 30m, 2h, 1d."),
)


selection_options = add_options(
    click.argument("ids", metavar="[ID]...", nargs=-1, callback=check_id),
    filter_options,
    click.option("--all", "all", is_flag=True, help="Every held job."),
)
"""The ids and the filters of held jobs."""


async def _held_filter(llm: AsyncOpenfall, selection: HeldOptions) -> HeldFilter:
    from openfall.producers.request import parse_duration
    from openfall.router_core.catalog.errors import UnknownName
    from openfall.router_core.state.held_jobs import HeldFilter
    from openfall.router_core.vocabulary import HoldReason

    if selection.reason is not None and selection.reason not in set(HoldReason):
        raise UnknownName("reason", selection.reason, [reason.value for reason in HoldReason])
    if selection.role is not None and selection.role not in llm.config.catalog.roles:
        raise UnknownName("role", selection.role, llm.config.catalog.roles)
    since = None if selection.since is None else await llm.store.server_time() - parse_duration(selection.since)
    return HeldFilter(
        role=selection.role, reason=HoldReason(selection.reason) if selection.reason else None, since=since
    )


async def selected_jobs(llm: AsyncOpenfall, selection: HeldOptions) -> AsyncIterator[HeldJob]:
    """Yield the selected jobs. An id that is not held prints a line and is skipped."""
    from openfall.router_core.state.held_jobs import fetch_held, list_held
    from openfall.router_core.state.job_search import find_held_job

    if selection.ids:
        ids = dict.fromkeys([await find_held_job(llm.store.connection, typed) for typed in selection.ids])
        held = {job.id: job for job in await fetch_held(llm.store.connection, list(ids))}
        for id_ in ids:
            if id_ not in held:
                record = await llm.record(id_)
                print_line(f"{id_} is not held: it is {record.result.status if record.result else record.state}")
        for job in held.values():
            yield job
        return
    takes_calls = await _available_models(llm) if selection.ready else None
    async for job in list_held(llm.store.connection, await _held_filter(llm, selection)):
        if takes_calls is None or takes_calls.intersection(await _models(llm, job)):
            yield job


async def _available_models(llm: AsyncOpenfall) -> frozenset[str]:
    """The models that accept calls now."""
    from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
    from openfall.router_core.vocabulary import Urgency

    fleet = (await fetch_fleet_snapshot(llm.store.connection, llm.config.catalog)).fleet_state(Urgency.BACKGROUND)
    return frozenset(alias for alias in llm.config.catalog.models if fleet.model(alias).blocked is None)


async def _models(llm: AsyncOpenfall, job: HeldJob) -> tuple[str, ...]:
    """The models that may answer a held job: those that release it, or its chain."""
    from openfall.router_core.jobs.envelope import UnreadableEnvelope

    if job.release_models:
        return job.release_models
    try:
        record = await llm.record(job.id)
    except UnreadableEnvelope:
        return ()
    return record.job.chain if record.job else ()


async def apply_to_each(
    llm: AsyncOpenfall, selection: HeldOptions, action: str, step: Callable[[HeldJob], Awaitable[T]]
) -> list[tuple[str, T]]:
    """Apply a step to every selected job; each id with its result."""
    from openfall.router_core.state.held_jobs import count_held

    results: list[tuple[str, T]] = []
    everything = selection.all and not selection.narrowed
    with Progress(
        action, await count_held(llm.store.connection) if everything else len(selection.ids) or None
    ) as progress:
        async for jobs in _chunks(selected_jobs(llm, selection), BATCH_SIZE):
            results += zip((job.id for job in jobs), await asyncio.gather(*map(step, jobs)), strict=True)
            progress.update(len(results))
    return results


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
