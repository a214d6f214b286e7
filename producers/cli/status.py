"""`openfall status`, `queues`, `workers`: what waits, who carries it out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.held_text import awaited, held_words
from openfall.producers.cli.options import config_option, json_option, with_client
from openfall.producers.cli.render import (
    age,
    counted,
    print_line,
    show_json,
    show_table,
    table,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus
    from openfall.router_core.state.held_jobs import HeldSummary

EVERY = 2.0
WORK = "openfall work POOL"
COLUMNS = ("queue", "waiting", "oldest", "started", "later", "")


@click.command()
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@config_option
@json_option
def status(watch: bool, config_path: Path | None, as_json: bool) -> None:
    """One sentence of health, and every queue."""
    if watch:
        _watch(config_path, as_json)
        return
    seen = _status(config_path)
    if as_json:
        show_json(_json(seen))
        return
    click.echo(_said(seen))
    if seen.overview.queues:
        show_table(COLUMNS, _rows(seen.overview.queues))


def _watch(config_path: Path | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if as_json or not console.is_terminal:
        while True:
            seen = _status(config_path)
            show_json(_json(seen)) if as_json else click.echo(_said(seen))
            time.sleep(EVERY if as_json else 5 * EVERY)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_page(_status(config_path)), refresh=True)
            time.sleep(EVERY)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Everything at a glance. `given_up`: posts. `at_home`: why nothing may leave the local pools (None: it may)."""

    overview: FleetStatus
    parked: HeldSummary
    given_up: int
    at_home: str | None


def _page(seen: _Seen) -> RenderableType:
    from rich.console import Group

    rows = table(COLUMNS, _rows(seen.overview.queues))
    return Group(_said(seen), rows, "Ctrl-C ends the watching, nothing else.")


def _status(config_path: Path | None) -> _Seen:
    from openfall.router_core.state.fleet_flags import local_only
    from openfall.router_core.state.fleet_status import fetch_status
    from openfall.router_core.state.held_jobs import fetch_held_summary
    from openfall.router_core.state.outbox import count_dead_letters

    async def ask(llm: AsyncOpenfall) -> _Seen:
        fixed = "the configuration says so" if llm.config.catalog.local_only else None
        there = await fetch_held_summary(llm.store.connection)
        there = replace(there, models=awaited(there.models, llm.config.catalog))
        given_up = await count_dead_letters(llm.store.connection)
        return _Seen(
            await fetch_status(llm.store.connection), there, given_up, await local_only(llm.store.connection) or fixed
        )

    return with_client(config_path, ask)


def _said(seen: _Seen) -> str:
    said = health(seen.overview, seen.parked, seen.given_up)
    return said + (f" Local-only: nothing leaves the local pools ({seen.at_home})." if seen.at_home else "")


def _looked(config_path: Path | None) -> FleetStatus:
    from openfall.router_core.state.fleet_status import fetch_status

    return with_client(config_path, lambda llm: fetch_status(llm.store.connection))


def health(seen: FleetStatus, parked: HeldSummary, given_up: int) -> str:
    """The one sentence: are people getting answers, and if not, what to do."""
    alive = sum(worker.alive for worker in seen.workers)
    started = sum(queue.started for queue in seen.queues)
    oldest = max((queue.oldest_seconds for queue in seen.queues if queue.oldest_seconds is not None), default=None)
    workers = f"{alive} worker{'' if alive == 1 else 's'}"
    if seen.suspended:
        said = "Everything is suspended (rq resume ends that)"
    elif seen.unserved and not alive:
        said = f"{counted(seen.waiting, 'wait')}, and no worker is alive: start one with `openfall up` or `{WORK}`"
    elif seen.unserved:
        said = f"No worker serves {', '.join(queue.name for queue in seen.unserved)}; elsewhere {workers} at work"
    elif seen.waiting:
        said = f"{counted(seen.waiting, 'wait')} (the oldest for {age(oldest)}), {started} being answered by {workers}"
    elif started:
        said = f"Nothing waits, {counted(started)} being answered by {workers}"
    else:
        said = f"Nothing waits; {workers} ready" if alive else "Nothing waits, and no worker is alive"
    paused = [queue.name for queue in seen.queues if queue.paused]
    said += f"; paused: {', '.join(paused)}" if paused else ""
    said += f"; {held_words(parked)}" if parked.total else ""
    said += f"; {_lost_words(given_up)}" if given_up else ""
    return f"{said}." + (f" No job is accepted: {seen.memory_pressure}." if seen.memory_pressure else "")


def _lost_words(given_up: int) -> str:
    return f"{'1 post was' if given_up == 1 else f'{given_up} posts were'} given up (openfall outbox)"


def _rows(queues: tuple[QueueStatus, ...]) -> Iterator[tuple[object, ...]]:
    """The queues that have or had something to say, the most urgent first."""
    order = ("interactive", "background", "batch")
    known = sorted(queues, key=lambda queue: (order.index(queue.urgency) if queue.urgency else 9, queue.name))
    for queue in known:
        paused = "paused" if queue.paused else ""
        yield queue.name, queue.waiting, age(queue.oldest_seconds), queue.started, queue.scheduled, paused


def _json(seen: _Seen) -> dict[str, Any]:
    fleet_status, by_urgency = seen.overview, dict[str, int]()
    for queue in fleet_status.queues:
        by_urgency[queue.urgency or "other"] = by_urgency.get(queue.urgency or "other", 0) + queue.waiting
    return {
        "health": health(fleet_status, seen.parked, seen.given_up),
        "local_only": seen.at_home,
        "waiting_by_urgency": by_urgency,
        "held_by_reason": seen.parked.by_reason,
        "held_waits_for": seen.parked.models,
        "posts_given_up": seen.given_up,
        **asdict(fleet_status),
    }


@click.command()
@config_option
@json_option
def workers(config_path: Path | None, as_json: bool) -> None:
    """Who carries jobs out."""
    people = _looked(config_path).workers
    if as_json:
        show_json([asdict(worker) for worker in people])
        return
    if not people:
        print_line(f"no worker: start one with `openfall up` or `{WORK}`")
        return
    columns = ("worker", "state", "heard", "answered", "failed", "host", "pid", "queues")
    show_table(
        columns,
        (
            (
                w.name,
                w.state if w.alive else "gone",
                age(w.heartbeat_age_seconds),
                w.answered,
                w.failed,
                w.host,
                w.pid,
                len(w.queues),
            )
            for w in people
        ),
    )


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def queues(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """What waits where. `pause NAME` lets nobody claim from a queue, `resume NAME` ends that.

    NAME may be a pattern: 'gpu.*', '*.batch'.
    """
    ctx.obj = config_path
    if ctx.invoked_subcommand is not None:
        return
    seen = _looked(config_path).queues
    if as_json:
        show_json([asdict(queue) for queue in seen])
    else:
        show_table(COLUMNS, _rows(seen))


@queues.command()
@click.argument("name")
@click.pass_obj
def pause(config_path: Path | None, name: str) -> None:
    """Let nobody claim from a queue, or from all that fit a pattern. Jobs are accepted all the same."""
    from openfall.router_core.state import fleet_status

    async def step(llm: AsyncOpenfall) -> dict[str, bool]:
        return {
            queue: await fleet_status.pause_queue(llm.store.connection, queue)
            for queue in _fitting(name, _queues_of(llm))
        }

    for queue, anew in with_client(config_path, step).items():
        click.echo(f"{queue} is paused" if anew else f"{queue} was paused already")


@queues.command()
@click.argument("name")
@click.pass_obj
def resume(config_path: Path | None, name: str) -> None:
    """Let jobs of a paused queue be claimed again, or of all that fit a pattern."""
    from openfall.router_core.state import fleet_status

    async def step(llm: AsyncOpenfall) -> dict[str, bool]:
        paused = await fleet_status.paused_queues(llm.store.connection)
        fitting = [queue for queue in paused if fnmatchcase(queue, name)] or _fitting(name, _queues_of(llm))
        return {queue: await fleet_status.resume_queue(llm.store.connection, queue) for queue in fitting}

    for queue, anew in with_client(config_path, step).items():
        click.echo(f"{queue} goes on" if anew else f"{queue} was not paused")


def _queues_of(llm: AsyncOpenfall) -> list[str]:
    catalog = llm.config.catalog
    return [catalog.queue(model, urgency) for model in catalog.models for urgency in catalog.urgency]


def _fitting(name: str, known: list[str]) -> list[str]:
    """The queues that a name or a shell pattern means; `UnknownName` when there is none."""
    from openfall.router_core.catalog.errors import UnknownName

    fitting = [queue for queue in known if fnmatchcase(queue, name)]
    if not fitting:
        raise UnknownName("queue", name, known)
    return fitting
