"""Open Fall: every engine is away. Who waits is told at once, the rest is held, and when they are back it is released.

The supervisor would start the engines again within a second. So it is paused (SIGSTOP) for as long as they are to be
away: nobody but the operating system keeps them from coming back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from examples.fleet import Fleet
from openfall import AsyncOpenfall
from openfall.producers.request import PreparedJob
from openfall.router_core.degrading.policy import HoldReason
from openfall.router_core.jobs.job import Urgency
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.jobs import Receipt

ENGINES = ("engine-one", "engine-two")
ASKED = (
    ("scene", "Describe the empty street after the parade, in one sentence."),
    ("scene", "Describe the rain on the paper lanterns, in one sentence."),
    ("sheets", "Two lines on the stall keeper who saw everything."),
    ("tags", "Three tags for a night street in the rain."),
    ("tags", "Three tags for a broken lantern."),
    ("translate", "Translate into French: The festival is over."),
    ("translate", "Translate into French: We will come back next year."),
)
INTERACTIVE = "Haruka asks who turned the lights out"
LOOK_EVERY = 0.1
AWAY = 5.0
"""Seconds for which the engines are away at the least."""
HELD_WITHIN = 15.0
"""Seconds for them to fall, on a busy machine. What has not by then waits in its queue."""
ANSWERED_WITHIN = 90.0
"""Seconds for the engines to be started again, for the probes, and for every job that was held."""


@dataclass(slots=True)
class Falling:
    """How it went. Seconds since the engines were killed; None: it has not come to that."""

    accepted: dict[str, str] = field(default_factory=dict)
    """job id -> what was asked"""
    told: float | None = None
    """From the question of the interactive one to `degraded`."""
    reply: str = ""
    held: set[str] = field(default_factory=set)
    """Those that were held before the engines came back."""
    back: float | None = None
    results: dict[str, Result] = field(default_factory=dict)
    ended: float | None = None

    @property
    def answered(self) -> int:
        """Those that were answered by their own models after all, held before or not."""
        return sum(result.answered and not result.degraded for result in self.results.values())

    @property
    def replayed(self) -> int:
        """Those of them that were held."""
        return sum(self.results[job].answered for job in self.held & self.results.keys())

    @property
    def still_held(self) -> int:
        return sum(not result.final for result in self.results.values())

    @property
    def lost(self) -> list[str]:
        """What was accepted and has no result."""
        return [job for job in self.accepted if job not in self.results]

    @property
    def well(self) -> bool:
        """Everybody was told in time, and everything was answered in the end."""
        return self.told is not None and bool(self.accepted) and self.answered == len(self.accepted)


async def fall_open(client: AsyncOpenfall, fleet: Fleet, say: Callable[[str], None]) -> Falling:
    """Take both engines away, ask meanwhile, and watch what comes of it."""
    falling, began = Falling(), time.monotonic()
    try:
        with fleet.unattended():
            _kill(fleet, say)
            await _ask(client, falling, say)
            await _until_held(client, falling, say)
            await asyncio.sleep(began + AWAY - time.monotonic())
            falling.back = time.monotonic() - began
        say(f"their supervisor goes on after {falling.back:.1f} s and starts them again")
        async with asyncio.timeout(ANSWERED_WITHIN):
            await asyncio.gather(*(_await(client, falling, job, say) for job in falling.accepted))
    except TimeoutError:
        say(f"[red]{len(falling.lost)} of {len(falling.accepted)} jobs have no answer yet[/]")
    falling.ended = time.monotonic() - began
    return falling


def _kill(fleet: Fleet, say: Callable[[str], None]) -> None:
    for name in ENGINES:
        os.kill(fleet.pids[name], signal.SIGKILL)
    say(f"[bold red]kill -9 {' and '.join(ENGINES)}[/]; their supervisor is paused, so that nobody starts them again")


async def _ask(client: AsyncOpenfall, falling: Falling, say: Callable[[str], None]) -> None:
    """What is asked while nobody can answer: a batch and, once its calls have failed, somebody who waits."""
    answers = await client.submit_many(PreparedJob(prompt, {"role": role}) for role, prompt in ASKED)
    for answer, (_, prompt) in zip(answers, ASKED, strict=True):
        if isinstance(answer, Exception):
            raise answer
        falling.accepted[answer.id] = prompt
    asked = time.monotonic()
    job = await client.submit(INTERACTIVE, role="chat", urgency=Urgency.INTERACTIVE)
    falling.accepted[job.id] = INTERACTIVE
    say(f"{len(falling.accepted)} jobs accepted meanwhile, one of them by somebody who waits for it")
    async with asyncio.timeout(HELD_WITHIN):
        falling.reply = await _degraded(client, job)
    falling.told = time.monotonic() - asked
    say(f"who waits is told [bold yellow]degraded[/] after {falling.told:.2f} s: “{falling.reply}”")


async def _degraded(client: AsyncOpenfall, job: Receipt) -> str:
    """What a job's caller reads as soon as it is degraded."""
    async with aclosing(client.stream(job, watch=False)) as events:
        async for event in events:
            if event["event"] == "degraded":
                return str(event["text"])
    return ""


async def _until_held(client: AsyncOpenfall, falling: Falling, say: Callable[[str], None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(HELD_WITHIN):
            while len(falling.held) < len(falling.accepted):
                records = [await client.record(job) for job in falling.accepted]
                falling.held = {record.id for record in records if record.held_for is HoldReason.OUTAGE}
                await asyncio.sleep(LOOK_EVERY)
    say(f"{len(falling.held)} of {len(falling.accepted)} are [bold yellow]held[/] in `degrade`, for an outage")


async def _await(client: AsyncOpenfall, falling: Falling, job: str, say: Callable[[str], None]) -> None:
    result = falling.results[job] = await client.wait(job, final=True)
    by = f"[bold green]{result.model} answers[/]" if result.answered else f"[red]{result.status}: {result.detail}[/]"
    say(f"released, number {len(falling.results)}: {by} “{_short(falling.accepted[job])}”")


def _short(text: str, most: int = 48) -> str:
    return text if len(text) <= most else f"{text[:most].rstrip()} ..."
