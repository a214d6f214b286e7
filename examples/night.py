"""The night: every job of the file is submitted, an engine fails, a worker is killed, every answer is awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from examples.demo_fleet import Fleet, poll
from examples.engine_failure import EngineFailure, await_recovery, fail_engine
from examples.gateway_kill import GatewayKill
from examples.model_switch import ModelSwitch
from examples.outage import Outage
from openfall import AsyncOpenfall
from openfall.producers.job_request import JobRequest
from openfall.producers.local_batches.batch_file_lines import InvalidLine, read_lines
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.jobs import Receipt
from openfall.router_core.vocabulary import Urgency

FAIL_AFTER = 0.2
"""The share of answers after which the faults begin. The rest is enough work for both of them."""
SURVIVOR, SURVIVOR_BACKEND = "engine-one", "one"
NIGHT_TIMEOUT_S = 900.0
"""A job without a result after this time counts as lost. A night takes one or two minutes."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the batch file."""

    custom_id: str
    role: str
    urgency: str
    prompt: str
    job: JobRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKill:
    """The calls in flight of the killed worker: custom id -> deliveries so far. `at` is on the monotonic clock."""

    orphans: Mapping[str, int]
    at: float


@dataclass(slots=True)
class Night:
    """The state of the night. `results` by custom id; `begun` and `ended` on the monotonic clock."""

    lines: tuple[Line, ...]
    accepted: dict[str, str] = field(default_factory=dict)
    """custom id -> job id"""
    refused: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    worker_kill: WorkerKill | None = None
    taken_over: dict[str, float] = field(default_factory=dict)
    """custom id -> seconds from the kill to the claim of another worker"""
    engine_failure: EngineFailure | None = None
    outage: Outage | None = None
    gateway_kill: GatewayKill | None = None
    model_switch: ModelSwitch | None = None
    begun: float = 0.0
    submit_seconds: float = 0.0
    ended: float = 0.0

    @property
    def lost(self) -> list[str]:
        """Accepted jobs without a result."""
        return [custom_id for custom_id in self.accepted if custom_id not in self.results]

    @property
    def unanswered(self) -> list[str]:
        return [custom_id for custom_id, result in self.results.items() if not result.answered]

    @property
    def all_shown(self) -> bool:
        """Every job was answered, and every fault happened and was overcome."""
        recovered = self.engine_failure is not None and self.engine_failure.closed is not None
        kill = self.worker_kill
        taken_over = kill is not None and self.taken_over.keys() == set(kill.orphans)
        held_back = self.outage is not None and self.outage.survived
        complete = bool(self.accepted) and not (self.lost or self.unanswered or self.refused)
        gateway_back = self.gateway_kill is not None and self.gateway_kill.survived
        switched = self.model_switch is not None and self.model_switch.shown
        return complete and recovered and taken_over and held_back and gateway_back and switched


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """Where the night reports its progress."""

    show_line: Callable[[str], None]
    show_answers: Callable[[Night], None]


def read_jobs(path: Path, catalog: Catalog) -> tuple[Line, ...]:
    """Read an OpenAI Batch file whose `model` is a role of the catalog. `ValueError` for an invalid line."""
    lines = []
    with path.open("rb") as file:
        for row in read_lines(file):
            if isinstance(row, InvalidLine) or not isinstance(row.request.prompt, Mapping):
                raise ValueError(f"{path.name}: {row}")
            body = row.request.prompt
            role = str(body["model"])
            urgency = row.request.options.get("urgency") or catalog.roles[role].urgency or Urgency.BACKGROUND
            lines.append(Line(row.custom_id, role, str(urgency), str(body["messages"][-1]["content"]), row.request))
    return tuple(lines)


async def run(client: AsyncOpenfall, fleet: Fleet, lines: tuple[Line, ...], display: Display) -> Night:
    """Submit every job and cause both faults meanwhile. Jobs without a result after `NIGHT_TIMEOUT_S` are lost."""
    night = Night(lines, begun=time.monotonic())
    await _submit(client, night)
    display.show_line(
        f"[bold]{len(night.accepted)} jobs accepted[/] in {night.submit_seconds:.2f} s: "
        "each was stored before its receipt was returned"
    )
    for custom_id, reason in night.refused.items():
        display.show_line(f"[red]{custom_id} refused:[/] {reason}")
    try:
        async with asyncio.timeout(NIGHT_TIMEOUT_S), asyncio.TaskGroup() as group:
            for custom_id in night.accepted:
                group.create_task(_wait(client, night, custom_id, display))
            group.create_task(_cause_faults(client, fleet, night, display))
    except TimeoutError:
        display.show_line(f"[red]the night did not end within {NIGHT_TIMEOUT_S:.0f} s[/]")
    return night


async def _submit(client: AsyncOpenfall, night: Night) -> None:
    began = time.monotonic()
    answers = await client.submit_many(line.job for line in night.lines)
    night.submit_seconds = time.monotonic() - began
    for line, answer in zip(night.lines, answers, strict=True):
        if isinstance(answer, Receipt):
            night.accepted[line.custom_id] = answer.id
        else:
            night.refused[line.custom_id] = str(answer)


async def _wait(client: AsyncOpenfall, night: Night, custom_id: str, display: Display) -> None:
    night.results[custom_id] = await client.wait(night.accepted[custom_id], accept_interim=False)
    night.ended = time.monotonic()
    display.show_answers(night)


async def _cause_faults(client: AsyncOpenfall, fleet: Fleet, night: Night, display: Display) -> None:
    """An engine fails first: the calls of a killed worker keep their slots for a while, so it is killed later."""

    async def well_begun() -> bool:
        return len(night.results) >= FAIL_AFTER * len(night.accepted)

    await poll(well_begun)
    night.engine_failure = await fail_engine(client, fleet, display.show_line)
    async with fleet.frozen(SURVIVOR):
        kill = await poll(lambda: _kill_worker(client, fleet, night, display))
    await asyncio.gather(
        await_recovery(client, night.engine_failure, display.show_line),
        _watch_takeover(client, fleet, kill, night, display),
    )


async def _kill_worker(client: AsyncOpenfall, fleet: Fleet, night: Night, display: Display) -> WorkerKill | None:
    """Kill the worker with the most calls in flight at the frozen engine. None: no worker has one yet."""
    calls = await _calls_in_flight(client, fleet, night)
    if not calls:
        return None
    worker = max(calls, key=lambda name: len(calls[name]))
    orphans = {custom_id: record.deliveries for custom_id, record in calls[worker].items()}
    night.worker_kill = WorkerKill(orphans=orphans, at=time.monotonic())
    fleet.kill(worker)
    names = ", ".join(orphans)
    display.show_line(f"[bold red]kill -9 {worker}[/] (pid {fleet.pids[worker]}), in the middle of its calls: {names}")
    return night.worker_kill


async def _calls_in_flight(client: AsyncOpenfall, fleet: Fleet, night: Night) -> dict[str, dict[str, JobRecord]]:
    """The jobs that each worker is calling the frozen engine for: worker -> custom id -> record."""
    calls: dict[str, dict[str, JobRecord]] = {}
    for custom_id in night.lost:
        record = await client.record(night.accepted[custom_id])
        started = record.state == "started" and record.backend == SURVIVOR_BACKEND
        worker = fleet.worker_of(record.worker) if started and record.worker else None
        if worker:
            calls.setdefault(worker, {})[custom_id] = record
    return calls


async def _watch_takeover(
    client: AsyncOpenfall, fleet: Fleet, kill: WorkerKill, night: Night, display: Display
) -> None:
    async def follow(custom_id: str) -> None:
        """Wait for the next delivery of an orphaned job, and report it."""
        job, deliveries = night.accepted[custom_id], kill.orphans[custom_id]

        async def find_delivery() -> JobRecord | None:
            record = await client.record(job)
            return record if record.deliveries > deliveries else None

        record = await poll(find_delivery)
        seconds = night.taken_over[custom_id] = time.monotonic() - kill.at
        worker = fleet.worker_of(record.worker) if record.worker else None
        name = worker or "another worker"
        display.show_line(f"[bold green]{custom_id} taken over[/] by {name}, {seconds:.1f} s after the kill")

    await asyncio.gather(*map(follow, kill.orphans))
