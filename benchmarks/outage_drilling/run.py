"""One outage drill from its first process to its verdict."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks.outage_drilling.evidence import Case, Evidence, gather
from benchmarks.outage_drilling.plan import BRIEF, GRACE, RELEASE_FIRST, RELEASE_MOST, UPSTREAMS, Plan
from benchmarks.outage_drilling.screen import Screen, look
from benchmarks.outage_drilling.services import Service
from benchmarks.outage_drilling.stage import Stage, stage, submitting
from benchmarks.outage_drilling.submitter import ENDED
from benchmarks.processes import BenchmarkError, Child
from benchmarks.torturing.arena import now_ms
from benchmarks.torturing.crew import Crew, until

POOL, DEGRADE = "gpu", "degrade"
VALKEY_DOWN = 1.0
STANDSTILL = 75.0
"""Seconds without any change after which none is expected: more than a lease, a closing or a retry of a post lasts."""

LOOK = 0.25
STOP = 30.0


@dataclass
class Breaker:
    """Carries out the faults of a plan, and writes down what it did to whom."""

    place: Stage
    crew: Crew
    say: Callable[[str], None]
    draw: random.Random
    away: dict[str, float] = field(default_factory=dict)

    async def commit(self, kind: str) -> None:
        """Carry out one fault; returns when it is over."""
        await self._kinds()[kind]()

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        upstreams = list(self.place.upstreams.values())
        return {
            "backends-away": lambda: self._kill("backends", upstreams),
            "backends-back": lambda: self._start("backends", upstreams),
            "notifier-away": lambda: self._kill("notifier", [self.place.notifier]),
            "notifier-back": lambda: self._start("notifier", [self.place.notifier]),
            "worker": lambda: self._kill_member(POOL, "worker"),
            "degrade": lambda: self._kill_member(DEGRADE, "degrade"),
            "valkey": self._kill_valkey,
        }

    async def _kill(self, what: str, services: list[Service]) -> None:
        self.away[what] = now_ms()
        pids = ", ".join(f"{service.name} {service.kill()}" for service in services)
        self.say(f"[bold red]kill -9[/bold red] {what} ({pids}); nobody starts them again yet")

    async def _start(self, what: str, services: list[Service]) -> None:
        for service in services:
            await asyncio.to_thread(service.start)
        self.place.chronicle.note(what, self.away.pop(what), ended=now_ms())
        self.say(f"[bold green]back[/bold green]: {what}")

    async def _kill_member(self, pool: str, kind: str) -> None:
        members = await until(lambda: self.crew.at_peace(pool) or None, what=f"a worker of {pool} to kill")
        victim = self.draw.choice(members)
        victim.told = True
        self.place.chronicle.note(kind, now_ms(), pid=victim.pid)
        victim.send(signal.SIGKILL)
        self.say(f"[bold red]kill -9[/bold red] a worker of {pool} ({victim.pid}); its supervisor starts another")

    async def _kill_valkey(self) -> None:
        with self.place.chronicle.outage():
            self.place.store.send(signal.SIGKILL)
            self.say(f"[bold red]kill -9[/bold red] Valkey; it is back in {VALKEY_DOWN:g} s")
            await asyncio.sleep(VALKEY_DOWN)
            await asyncio.to_thread(self.place.store.start)


@dataclass(frozen=True)
class Drilled:
    """What a drill left: the evidence, and what went wrong besides."""

    evidence: Evidence
    complaints: list[str]


async def drill(plan: Plan, directory: Path, screen: Screen) -> Drilled:
    """Run a plan in an empty directory."""
    with ExitStack() as stack:
        place = stack.enter_context(stage(plan, directory))
        crew = stack.enter_context(closing(Crew(place)))
        for pool in [*[POOL] * plan.workers, *[DEGRADE] * plan.degraders]:
            crew.hire(pool)
        beside = [asyncio.create_task(crew.supervise()), asyncio.create_task(_watch(place, screen))]
        work = asyncio.create_task(_all_of_it(place, crew, screen))
        try:
            await asyncio.wait([work, *beside], return_when=asyncio.FIRST_COMPLETED)
            for task in (*beside, work):
                if task.done():
                    task.result()
        finally:
            for task in (work, *beside):
                task.cancel()
            await asyncio.gather(work, *beside, return_exceptions=True)
        screen.say("the judge reads what everybody wrote down")
        with place.store.client() as client:
            return Drilled(await asyncio.to_thread(gather, CASE, directory, client), place.chronicle.complaints)


CASE = Case(dict(UPSTREAMS), BRIEF, RELEASE_FIRST, RELEASE_MOST)


async def _watch(place: Stage, screen: Screen) -> None:
    while True:
        if not place.chronicle.outage_now and (seen := await asyncio.to_thread(look, place.store)) is not None:
            screen.show(seen)
        await asyncio.sleep(LOOK)


async def _all_of_it(place: Stage, crew: Crew, screen: Screen) -> None:
    plan = place.plan
    await until(lambda: all(member.ready for member in crew.members) or None, what="every worker to be ready")
    with submitting(place) as submitter:
        await until(lambda: "began" in submitter.log.read_text() or None, what="the submitter to begin")
        screen.say(f"{plan.jobs:,} jobs over {plan.seconds:.0f} s, {len(crew.members)} workers, seed {plan.seed}")
        began = asyncio.get_running_loop().time()
        breaker = Breaker(place, crew, screen.say, random.Random(plan.seed))
        async with asyncio.TaskGroup() as group:
            for at, kind in plan.faults():
                group.create_task(_at(began + at, kind, breaker))
        await until(lambda: _said(submitter, ENDED), plan.seconds + STOP, "the submitter to have every receipt")
        screen.say("every job has its receipt; waiting for the ends, and for the incident to be over")
        await _drained(place)
        submitter.popen.send_signal(signal.SIGTERM)
        await until(submitter.popen.poll, STOP, "the submitter to end")
    if submitter.popen.returncode:
        raise BenchmarkError(f"the submitter failed: {submitter.said}")
    await crew.dismiss_all()


def _said(child: Child, word: str) -> bool | None:
    if child.popen.poll() is not None:
        raise BenchmarkError(f"the submitter ended: {child.said}")
    return word in child.log.read_text() or None


async def _at(moment: float, kind: str, breaker: Breaker) -> None:
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
    await breaker.commit(kind)


async def _drained(place: Stage) -> None:
    """Wait until nothing is left to do, or nothing happens any more. What is left then is for the judge to name."""
    loop = asyncio.get_running_loop()
    end, before = loop.time() + STANDSTILL, None
    while loop.time() < end:
        left = _left(place)
        if left is not None and not any(left):
            await asyncio.sleep(GRACE)  # for what is on its way to those who wait
            return
        if left != before:
            end, before = loop.time() + STANDSTILL, left
        await asyncio.sleep(LOOK)


def _left(place: Stage) -> tuple[int, ...] | None:
    """Open jobs, incidents, posts, and settles on disk; None while the server does not say."""
    with place.store.client() as client, suppress(redis.RedisError):
        told = (client.zcard("of:unfinished"), client.hlen("of:incidents"), client.zcard("of:outbox"))
        return (*map(int, told), place.spooled())
    return None
