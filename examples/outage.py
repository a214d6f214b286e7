"""Act 3, Open Fall: every engine is away. Jobs are still accepted, fall, are held, and are released afterwards.

The supervisor would start the engines again within a second. It is paused while they are to be away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from examples.demo_fleet import ENGINES, Fleet, poll
from openfall import AsyncOpenfall
from openfall.producers.job_request import JobRequest
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.jobs import Receipt
from openfall.router_core.vocabulary import HoldReason, Urgency

BATCH = (
    ("scene", "Describe the empty street after the parade, in one sentence."),
    ("scene", "Describe the rain on the paper lanterns, in one sentence."),
    ("sheets", "Two lines on the stall keeper who saw everything."),
    ("tags", "Three tags for a night street in the rain."),
    ("tags", "Three tags for a broken lantern."),
    ("translate", "Translate into French: The festival is over."),
    ("translate", "Translate into French: We will come back next year."),
)
INTERACTIVE = "Haruka asks who turned the lights out"
AWAY_SECONDS = 5.0
"""Minimum time for which the engines are away."""
DEGRADED_TIMEOUT_S = 60.0
"""The interactive caller gets its interim reply in this time on a busy machine. It takes about 0.1 s."""
HELD_TIMEOUT_S = 30.0
"""A job that is not held after this time still waits in its queue, and is answered from there."""
ANSWERED_TIMEOUT_S = 180.0
"""The engines start, their probes succeed and every held job is answered in this time. It takes about 10 s."""


@dataclass(slots=True)
class Outage:
    """What happened. Times are seconds since the engines were killed; None: not reached."""

    accepted: dict[str, str] = field(default_factory=dict)
    """job id -> prompt"""
    degraded_after: float | None = None
    """From the submission of the interactive job to its `degraded` event."""
    reply: str = ""
    held: set[str] = field(default_factory=set)
    """The jobs that were held before the engines came back."""
    back: float | None = None
    results: dict[str, Result] = field(default_factory=dict)
    ended: float | None = None

    @property
    def answered(self) -> int:
        """Jobs that a model answered in the end, whether they were held or not."""
        return sum(result.answered and not result.degraded for result in self.results.values())

    @property
    def replayed(self) -> int:
        """Answered jobs that were held before."""
        return sum(self.results[job].answered for job in self.held & self.results.keys())

    @property
    def still_held(self) -> int:
        return sum(not result.final for result in self.results.values())

    @property
    def lost(self) -> list[str]:
        """Accepted jobs without a result."""
        return [job for job in self.accepted if job not in self.results]

    @property
    def survived(self) -> bool:
        """The interactive caller got an interim reply, and every job was answered in the end."""
        return self.degraded_after is not None and bool(self.accepted) and self.answered == len(self.accepted)


async def fall_open(client: AsyncOpenfall, fleet: Fleet, show_line: Callable[[str], None]) -> Outage:
    """Kill both engines, submit jobs meanwhile, and follow each job to its end."""
    outage, began = Outage(), time.monotonic()
    try:
        async with fleet.unattended():
            fleet.kill(*ENGINES)
            show_line(f"[bold red]kill -9 {' and '.join(ENGINES)}[/]; their supervisor is paused and starts nothing")
            await _submit(client, outage, show_line)
            await _wait_until_held(client, outage, show_line)
            await asyncio.sleep(began + AWAY_SECONDS - time.monotonic())
            outage.back = time.monotonic() - began
        show_line(f"the supervisor continues after {outage.back:.1f} s and starts the engines again")
        async with asyncio.timeout(ANSWERED_TIMEOUT_S):
            await asyncio.gather(*(_wait(client, outage, job, show_line) for job in outage.accepted))
    except TimeoutError:
        show_line(f"[red]{len(outage.lost)} of {len(outage.accepted)} jobs have no answer yet[/]")
    outage.ended = time.monotonic() - began
    return outage


async def _submit(client: AsyncOpenfall, outage: Outage, show_line: Callable[[str], None]) -> None:
    """Submit a batch and one interactive job, whose caller waits."""
    answers = await client.submit_many(JobRequest(prompt, {"role": role}) for role, prompt in BATCH)
    for answer, (_, prompt) in zip(answers, BATCH, strict=True):
        if isinstance(answer, Exception):
            raise answer
        outage.accepted[answer.id] = prompt
    submitted = time.monotonic()
    job = await client.submit(INTERACTIVE, role="chat", urgency=Urgency.INTERACTIVE)
    outage.accepted[job.id] = INTERACTIVE
    show_line(f"{len(outage.accepted)} jobs accepted meanwhile; one of them is interactive: its caller waits")
    async with asyncio.timeout(DEGRADED_TIMEOUT_S):
        outage.reply = await _read_interim_reply(client, job)
    outage.degraded_after = time.monotonic() - submitted
    show_line(
        f"the caller that waits gets an interim reply ([bold yellow]degraded[/]) after {outage.degraded_after:.2f} s: "
        f"“{outage.reply}”"
    )


async def _read_interim_reply(client: AsyncOpenfall, job: Receipt) -> str:
    async with aclosing(client.stream(job, deltas=False)) as events:
        async for event in events:
            if event["event"] == "degraded":
                return str(event["text"])
    return ""


async def _wait_until_held(client: AsyncOpenfall, outage: Outage, show_line: Callable[[str], None]) -> None:
    async def all_held() -> bool:
        records = [await client.record(job) for job in outage.accepted]
        outage.held = {record.id for record in records if record.held_for is HoldReason.OUTAGE}
        return len(outage.held) == len(outage.accepted)

    with suppress(TimeoutError):
        async with asyncio.timeout(HELD_TIMEOUT_S):
            await poll(all_held)
    show_line(f"{len(outage.held)} of {len(outage.accepted)} jobs are [bold yellow]held[/] in `degrade`, for an outage")


async def _wait(client: AsyncOpenfall, outage: Outage, job: str, show_line: Callable[[str], None]) -> None:
    result = outage.results[job] = await client.wait(job, accept_interim=False)
    text = f"[bold green]{result.model} answers[/]" if result.answered else f"[red]{result.status}: {result.detail}[/]"
    show_line(f"released, number {len(outage.results)}: {text} “{_shorten(outage.accepted[job])}”")


def _shorten(text: str, limit: int = 48) -> str:
    return text if len(text) <= limit else f"{text[:limit].rstrip()} ..."
