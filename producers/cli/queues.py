"""`openfall status`, `queues`, `workers`, `degrade`: what waits, who carries it out, what is held."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from producers.cli.options import config_option, json_option, opened, run
from producers.cli.shown import age, say, show_json, show_table, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from producers.client import AsyncOpenfall
    from router_core.state.overview import Held, Overview, Queue

T = TypeVar("T")
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
    seen, at_home = _status(config_path)
    if as_json:
        show_json(_json(seen, at_home))
        return
    click.echo(_said(seen, at_home))
    if seen.queues:
        show_table(COLUMNS, _rows(seen.queues))


def _watch(config_path: Path | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if as_json or not console.is_terminal:
        while True:
            seen, at_home = _status(config_path)
            show_json(_json(seen, at_home)) if as_json else click.echo(_said(seen, at_home))
            time.sleep(EVERY if as_json else 5 * EVERY)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_page(*_status(config_path)), refresh=True)
            time.sleep(EVERY)


def _page(seen: Overview, at_home: str | None) -> RenderableType:
    from rich.console import Group

    return Group(_said(seen, at_home), table(COLUMNS, _rows(seen.queues)), "Ctrl-C ends the watching, nothing else.")


def _status(config_path: Path | None) -> tuple[Overview, str | None]:
    """Everything at a glance, and why nothing may leave the local pools (None: it may)."""
    from router_core.state.overview import look
    from router_core.state.switches import local_only

    async def ask(llm: AsyncOpenfall) -> tuple[Overview, str | None]:
        fixed = "the configuration says so" if llm.loaded.catalog.local_only else None
        return await look(llm.link), await local_only(llm.link) or fixed

    return _with(config_path, ask)


def _said(seen: Overview, at_home: str | None) -> str:
    return health(seen) + (f" Local-only: nothing leaves the local pools ({at_home})." if at_home else "")


def _looked(config_path: Path | None) -> Overview:
    from router_core.state.overview import look

    return _with(config_path, lambda llm: look(llm.link))


def _with(config_path: Path | None, ask: Callable[[AsyncOpenfall], Awaitable[T]]) -> T:
    async def main() -> T:
        async with opened(config_path) as llm:
            return await ask(llm)

    return run(main())


def health(seen: Overview) -> str:
    """The one sentence: are people getting answers, and if not, what to do."""
    alive = sum(worker.alive for worker in seen.workers)
    started = sum(queue.started for queue in seen.queues)
    oldest = max((queue.oldest for queue in seen.queues if queue.oldest is not None), default=None)
    workers = f"{alive} worker{'' if alive == 1 else 's'}"
    if seen.suspended:
        said = "Everything is suspended (rq resume ends that)"
    elif seen.unserved and not alive:
        said = f"{_jobs(seen.waiting, 'wait')}, and no worker is alive: start one with `openfall up` or `{WORK}`"
    elif seen.unserved:
        said = f"No worker serves {', '.join(queue.name for queue in seen.unserved)}; elsewhere {workers} at work"
    elif seen.waiting:
        said = f"{_jobs(seen.waiting, 'wait')} (the oldest for {age(oldest)}), {started} being answered by {workers}"
    elif started:
        said = f"Nothing waits, {_jobs(started)} being answered by {workers}"
    else:
        said = f"Nothing waits; {workers} ready" if alive else "Nothing waits, and no worker is alive"
    paused = [queue.name for queue in seen.queues if queue.paused]
    said += f"; paused: {', '.join(paused)}" if paused else ""
    said += f"; {_jobs(seen.held)} held (openfall degrade list)." if seen.held else "."
    return said + (f" No job is accepted: {seen.pressed}." if seen.pressed else "")


def _jobs(number: int, verb: str = "") -> str:
    return (f"1 job {verb}s" if verb else "1 job") if number == 1 else f"{number} jobs {verb}".rstrip()


def _rows(queues: tuple[Queue, ...]) -> Iterator[tuple[object, ...]]:
    """The queues that have or had something to say, the most urgent first."""
    order = ("interactive", "background", "batch")
    known = sorted(queues, key=lambda queue: (order.index(queue.urgency) if queue.urgency else 9, queue.name))
    for queue in known:
        paused = "paused" if queue.paused else ""
        yield queue.name, queue.waiting, age(queue.oldest), queue.started, queue.scheduled, paused


def _json(seen: Overview, at_home: str | None) -> dict[str, Any]:
    by_urgency: dict[str, int] = {}
    for queue in seen.queues:
        by_urgency[queue.urgency or "other"] = by_urgency.get(queue.urgency or "other", 0) + queue.waiting
    return {"health": health(seen), "local_only": at_home, "waiting_by_urgency": by_urgency, **asdict(seen)}


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
        say(f"no worker: start one with `openfall up` or `{WORK}`")
        return
    columns = ("worker", "state", "heard", "answered", "failed", "host", "pid", "queues")
    show_table(
        columns,
        (
            (w.name, w.state if w.alive else "gone", age(w.heard), w.answered, w.failed, w.host, w.pid, len(w.queues))
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
    from router_core.state import overview

    async def step(llm: AsyncOpenfall) -> dict[str, bool]:
        return {queue: await overview.pause(llm.link, queue) for queue in _fitting(name, _queues_of(llm))}

    for queue, anew in _with(config_path, step).items():
        click.echo(f"{queue} is paused" if anew else f"{queue} was paused already")


@queues.command()
@click.argument("name")
@click.pass_obj
def resume(config_path: Path | None, name: str) -> None:
    """Let jobs of a paused queue be claimed again, or of all that fit a pattern."""
    from router_core.state import overview

    async def step(llm: AsyncOpenfall) -> dict[str, bool]:
        paused = await overview.paused(llm.link)
        fitting = [queue for queue in paused if fnmatchcase(queue, name)] or _fitting(name, _queues_of(llm))
        return {queue: await overview.resume(llm.link, queue) for queue in fitting}

    for queue, anew in _with(config_path, step).items():
        click.echo(f"{queue} goes on" if anew else f"{queue} was not paused")


def _queues_of(llm: AsyncOpenfall) -> list[str]:
    catalog = llm.loaded.catalog
    return [catalog.queue(model, urgency) for model in catalog.models for urgency in catalog.urgency]


def _fitting(name: str, known: list[str]) -> list[str]:
    """The queues that a name or a shell pattern means; `UnknownName` when there is none."""
    from router_core.catalog import UnknownName

    fitting = [queue for queue in known if fnmatchcase(queue, name)]
    if not fitting:
        raise UnknownName("queue", name, known)
    return fitting


@click.group()
def degrade() -> None:
    """What nothing could serve: held, not lost."""


@degrade.command("list")
@config_option
@json_option
def list_held(config_path: Path | None, as_json: bool) -> None:
    """The held jobs, and why each is held."""
    from router_core.state.overview import held

    async def step(llm: AsyncOpenfall) -> tuple[list[Held], float]:
        time_ = await llm.link.command("TIME")
        return await held(llm.link), float(time_[0])

    jobs, now = _with(config_path, step)
    if as_json:
        show_json([asdict(job) for job in jobs])
    elif not jobs:
        say("nothing is held")
    else:
        columns = ("job", "for", "reason", "queue", "why")
        show_table(columns, ((job.id, age(now - job.since), job.reason, job.queue, job.why) for job in jobs))


@degrade.command()
@click.argument("job_id", metavar="ID")
@config_option
@json_option
def replay(job_id: str, config_path: Path | None, as_json: bool) -> None:
    """Put a held job back into the queue it fell from."""
    state = _with(config_path, lambda llm: llm.intake.replay(job_id))
    if as_json:
        show_json({"id": job_id, "state": state})
    else:
        click.echo(f"{job_id} is {state}")
