"""The night itself: every job of the file is put in, a worker and an engine are killed, every answer is awaited."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from examples.breaking import Breaking, break_one
from examples.falling import Falling
from examples.fleet import Fleet
from openfall import AsyncOpenfall
from openfall.producers.batch.files import InvalidLine, read_lines
from openfall.producers.request import PreparedJob
from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.jobs.job import Urgency
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.jobs import JobRecord, Receipt

KILL_AFTER = 0.25
"""The share of the answers after which a worker is killed."""
BREAK_AFTER = 0.5
"""The share of the answers after which an engine is killed."""
LOOK_EVERY = 0.2
PATIENCE = 900.0
"""Seconds until what is still without an answer is called lost. A night takes one or two minutes."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the batch file."""

    custom_id: str
    role: str
    urgency: str
    ask: PreparedJob

    @property
    def prompt(self) -> str:
        """What the user of the line says."""
        assert isinstance(self.ask.prompt, Mapping)
        return str(self.ask.prompt["messages"][-1]["content"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Killing:
    """The worker that was killed, and the calls that it had in flight."""

    what: str
    pid: int
    orphans: tuple[str, ...]
    at: float


@dataclass(slots=True)
class Night:
    """How the night went so far. `results` by custom id; `begun` and `ended` on the monotonic clock."""

    lines: tuple[Line, ...]
    accepted: dict[str, str] = field(default_factory=dict)
    """custom id -> job id"""
    refused: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    killing: Killing | None = None
    taken_over: dict[str, float] = field(default_factory=dict)
    """custom id -> seconds from the kill to the next worker's claim"""
    breaking: Breaking | None = None
    falling: Falling | None = None
    begun: float = 0.0
    accepting: float = 0.0
    ended: float = 0.0

    @property
    def lost(self) -> list[str]:
        """What was accepted and has no result."""
        return [custom_id for custom_id in self.accepted if custom_id not in self.results]

    @property
    def unanswered(self) -> list[str]:
        return [custom_id for custom_id, result in self.results.items() if not result.answered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What a night tells while it goes on."""

    say: Callable[[str], None]
    answered: Callable[[Night], None]


def read_jobs(path: Path, catalog: Catalog) -> tuple[Line, ...]:
    """The jobs of an OpenAI Batch file whose `model` is a role of the catalog; `ValueError` for a line that is none."""
    jobs = []
    with path.open("rb") as file:
        for line in read_lines(file):
            if isinstance(line, InvalidLine):
                raise ValueError(f"{path.name}: {line}")
            assert isinstance(line.ask.prompt, Mapping)
            role = str(line.ask.prompt["model"])
            urgency = line.ask.options.get("urgency") or catalog.roles[role].urgency or Urgency.BACKGROUND
            jobs.append(Line(line.custom_id, role, str(urgency), line.ask))
    return tuple(jobs)


async def run(client: AsyncOpenfall, fleet: Fleet, lines: tuple[Line, ...], show: Show) -> Night:
    """Every job answered, with a worker and an engine killed. Ends early, with what there is, after `PATIENCE`."""
    night = Night(lines, begun=time.monotonic())
    await _put_in(client, night)
    show.say(
        f"[bold]{len(night.accepted)} jobs accepted[/] in {night.accepting:.2f} s: "
        "each was written down before its receipt came back"
    )
    for custom_id, why in night.refused.items():
        show.say(f"[red]{custom_id} refused:[/] {why}")
    killer = asyncio.create_task(_kill_one(client, fleet, night, show))
    breaker = asyncio.create_task(_break_one(client, fleet, night, show))
    waits = [asyncio.create_task(_await(client, night, custom_id, show)) for custom_id in night.accepted]
    _, late = await asyncio.wait(waits, timeout=PATIENCE)
    night.ended = time.monotonic()
    await asyncio.wait([breaker])  # it heals although no job waits for it
    for task in (killer, *late):
        task.cancel()
    ends = await asyncio.gather(killer, breaker, *waits, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return night


async def _break_one(client: AsyncOpenfall, fleet: Fleet, night: Night, show: Show) -> None:
    while night.breaking is None:
        if len(night.results) < BREAK_AFTER * len(night.accepted):
            await asyncio.sleep(LOOK_EVERY)
        else:
            night.breaking = await break_one(client, fleet, show.say)


async def _put_in(client: AsyncOpenfall, night: Night) -> None:
    began = time.monotonic()
    answers = await client.submit_many(line.ask for line in night.lines)
    night.accepting = time.monotonic() - began
    for line, answer in zip(night.lines, answers, strict=True):
        if isinstance(answer, Receipt):
            night.accepted[line.custom_id] = answer.id
        else:
            night.refused[line.custom_id] = str(answer)


async def _await(client: AsyncOpenfall, night: Night, custom_id: str, show: Show) -> None:
    night.results[custom_id] = await client.wait(night.accepted[custom_id], final=True)
    show.answered(night)


async def _kill_one(client: AsyncOpenfall, fleet: Fleet, night: Night, show: Show) -> None:
    """SIGKILL for the worker with the most calls in flight, then a look at what becomes of them."""
    while night.killing is None and night.lost:
        early = len(night.results) < KILL_AFTER * len(night.accepted)
        held = {} if early else await _held(client, fleet, night)
        if held:
            what = max(held, key=lambda each: len(held[each]))
            await _kill(client, fleet, night, (what, held[what]))
        else:
            await asyncio.sleep(LOOK_EVERY)
    if night.killing:
        names = ", ".join(night.killing.orphans)
        show.say(
            f"[bold red]kill -9 {night.killing.what}[/] (pid {night.killing.pid}), in the middle of its calls: {names}"
        )
        await asyncio.gather(*(_follow(client, fleet, night, custom_id, show) for custom_id in night.killing.orphans))


async def _held(client: AsyncOpenfall, fleet: Fleet, night: Night) -> dict[str, dict[str, JobRecord]]:
    """The jobs that each worker of the fleet is calling for: part -> custom id -> record."""
    held: dict[str, dict[str, JobRecord]] = {}
    for custom_id in night.lost:
        record = await client.record(night.accepted[custom_id])
        what = fleet.worker_of(record.worker) if record.state == "started" and record.worker else None
        if what:
            held.setdefault(what, {})[custom_id] = record
    return held


async def _kill(client: AsyncOpenfall, fleet: Fleet, night: Night, victim: tuple[str, dict[str, JobRecord]]) -> None:
    """Kill it. What counts as orphaned is what Redis still shows as its own afterwards."""
    what, held = victim
    pid = fleet.pids[what]
    os.kill(pid, signal.SIGKILL)
    at = time.monotonic()
    after = {custom_id: await client.record(night.accepted[custom_id]) for custom_id in held}
    orphans = tuple(
        custom_id
        for custom_id, record in after.items()
        if record.state == "started" and record.worker == held[custom_id].worker
    )
    if orphans:
        night.killing = Killing(what=what, pid=pid, orphans=orphans, at=at)


async def _follow(client: AsyncOpenfall, fleet: Fleet, night: Night, custom_id: str, show: Show) -> None:
    """Wait until another delivery of an orphaned job begins, and say so."""
    assert night.killing is not None
    while True:
        record = await client.record(night.accepted[custom_id])
        if record.deliveries > 1:
            night.taken_over[custom_id] = time.monotonic() - night.killing.at
            by = fleet.worker_of(record.worker) if record.worker else None
            show.say(
                f"[bold green]{custom_id} taken over[/] by {by or 'another worker'}, "
                f"{night.taken_over[custom_id]:.1f} s after the kill"
            )
            return
        await asyncio.sleep(LOOK_EVERY)
