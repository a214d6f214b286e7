"""Which held jobs a command means: ids, or filters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from openfall.producers.cli.progress import Progress
from openfall.producers.cli.render import print_line

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.held_jobs import HeldFilter, HeldJob

AT_ONCE = 64
"""Jobs that are put back, dropped or read at once."""

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOptions:
    """Which held jobs a command means."""

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
        """A command that changes something says what: nobody drops everything by leaving a word out."""
        if not (self.ids or self.narrowed or self.all):
            raise click.UsageError("which ones? Name job ids, or a filter such as --role, --reason, --since, --all.")
        if self.ids and (self.narrowed or self.all):
            raise click.UsageError("name job ids or filters, not both")


_FILTERS = (
    click.option("--role", help="Those of one role."),
    click.option("--reason", help="Those held for one reason: outage, local_only, budget, own_fault ..."),
    click.option("--since", metavar="DURATION", help="Those held since: 30m, 2h, 1d."),
)


def filters(command: F) -> F:
    """The options that narrow a list of held jobs."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def chosen(command: F) -> F:
    """The ids, and the options that stand for many of them."""
    everything = click.option("--all", "all_", is_flag=True, help="Every held job.")
    ids = click.argument("ids", metavar="[ID]...", nargs=-1)
    return ids(filters(everything(command)))


async def _wanted(llm: AsyncOpenfall, which: HeldOptions) -> HeldFilter:
    from openfall.producers.request import parse_duration
    from openfall.router_core.catalog.errors import UnknownName
    from openfall.router_core.state.held_jobs import HeldFilter
    from openfall.router_core.vocabulary import (
        HoldReason,
    )

    if which.reason is not None and which.reason not in set(HoldReason):
        raise UnknownName("reason", which.reason, [reason.value for reason in HoldReason])
    if which.role is not None and which.role not in llm.config.catalog.roles:
        raise UnknownName("role", which.role, llm.config.catalog.roles)
    since = None if which.since is None else await llm.store.server_time() - parse_duration(which.since)
    return HeldFilter(role=which.role, reason=HoldReason(which.reason) if which.reason else None, since=since)


async def found(llm: AsyncOpenfall, which: HeldOptions) -> AsyncIterator[HeldJob]:
    """The jobs that are meant. An id that is not held is told, and left out."""
    from openfall.router_core.state.held_jobs import fetch_held, list_held

    if which.ids:
        there = {job.id: job for job in await fetch_held(llm.store.connection, which.ids)}
        for id_ in which.ids:
            if id_ not in there:
                record = await llm.record(id_)
                print_line(f"{id_} is not held: it is {record.result.status if record.result else record.state}")
        for job in there.values():
            yield job
        return
    takes_calls = await _takers(llm) if which.ready else None
    async for job in list_held(llm.store.connection, await _wanted(llm, which)):
        if takes_calls is None or takes_calls.intersection(await _models(llm, job)):
            yield job


async def _takers(llm: AsyncOpenfall) -> frozenset[str]:
    """The models that take calls now."""
    from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
    from openfall.router_core.vocabulary import (
        Urgency,
    )

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


async def each(
    llm: AsyncOpenfall, which: HeldOptions, words: str, step: Callable[[HeldJob], Awaitable[T]]
) -> list[tuple[str, T]]:
    """Do something to every job that is meant; what came of each."""
    from openfall.router_core.state.held_jobs import count_held

    done: list[tuple[str, T]] = []
    everything = which.all and not which.narrowed
    async with Progress(
        words, await count_held(llm.store.connection) if everything else len(which.ids) or None
    ) as progress:
        async for jobs in _together(found(llm, which), AT_ONCE):
            done += zip((job.id for job in jobs), await asyncio.gather(*map(step, jobs)), strict=True)
            progress.at(len(done))
    return done


async def _together(items: AsyncIterator[T], most: int) -> AsyncIterator[list[T]]:
    """The same, so many at a time."""
    chunk: list[T] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == most:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
