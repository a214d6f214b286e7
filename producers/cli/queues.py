"""`openfall queues`: lists the queues; pauses and resumes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import format_age, show_table
from openfall.producers.cli.terminal import echo, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.fleet_status import QueueStatus

COLUMNS = ("queue", "waiting", "oldest", "started", "later", "")


@click.group(invoke_without_command=True)
@common_options
@click.pass_context
def queues(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """List the queues. `pause NAME` stops workers from claiming its jobs, `resume NAME` ends that.

    NAME may be a pattern: 'gpu.*', '*.batch'.
    """
    from openfall.router_core.state.fleet_status import fetch_status

    if ctx.invoked_subcommand is not None:
        return
    status = with_client(config_path, lambda llm: fetch_status(llm.store.connection))
    if as_json:
        show_json([asdict(queue) for queue in status.queues])
    else:
        show_table(COLUMNS, queue_rows(status.queues))


@queues.command(short_help="Stop claims from a queue.")
@click.argument("name")
@common_options
def pause(name: str, config_path: Path | None, as_json: bool) -> None:
    """Stop claims from a queue, or from all that match a pattern. The queue still accepts jobs."""
    from openfall.router_core.state import fleet_status

    async def step(llm: AsyncOpenfall) -> dict[str, bool]:
        return {
            queue: await fleet_status.pause_queue(llm.store.connection, queue)
            for queue in _matching(name, _all_queues(llm))
        }

    _show_changes(with_client(config_path, step), as_json, "is paused", "was paused already")


@queues.command(short_help="Allow claims again.")
@click.argument("name")
@common_options
def resume(name: str, config_path: Path | None, as_json: bool) -> None:
    """Allow claims from a paused queue again, or from all that match a pattern."""
    from openfall.router_core.state import fleet_status

    async def step(llm: AsyncOpenfall) -> dict[str, bool]:
        paused = await fleet_status.paused_queues(llm.store.connection)
        matching = [queue for queue in paused if fnmatchcase(queue, name)] or _matching(name, _all_queues(llm))
        return {queue: await fleet_status.resume_queue(llm.store.connection, queue) for queue in matching}

    _show_changes(with_client(config_path, step), as_json, "is resumed", "was not paused")


def _show_changes(changes: dict[str, bool], as_json: bool, done: str, unchanged: str) -> None:
    if as_json:
        show_json([{"queue": queue, "changed": changed} for queue, changed in changes.items()])
        return
    for queue, changed in changes.items():
        echo(f"{queue} {done if changed else unchanged}")


def _all_queues(llm: AsyncOpenfall) -> list[str]:
    catalog = llm.config.catalog
    return [catalog.queue(model, urgency) for model in catalog.models for urgency in catalog.urgency]


def _matching(name: str, known: list[str]) -> list[str]:
    """The queues that a name or a shell pattern matches. Raises `UnknownName` if none does."""
    from openfall.router_core.catalog.errors import UnknownName

    matching = [queue for queue in known if fnmatchcase(queue, name)]
    if not matching:
        raise UnknownName("queue", name, known)
    return matching


def queue_rows(queues: tuple[QueueStatus, ...]) -> Iterator[tuple[object, ...]]:
    """A row of `COLUMNS` for each queue, the most urgent first."""
    order = ("interactive", "background", "batch")
    known = sorted(queues, key=lambda queue: (order.index(queue.urgency) if queue.urgency else 9, queue.name))
    for queue in known:
        paused = "paused" if queue.paused else ""
        yield queue.name, queue.waiting, format_age(queue.oldest_seconds), queue.started, queue.scheduled, paused
