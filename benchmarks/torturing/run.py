"""One torture run from its first process to its verdict."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, BenchmarkError, last_line, started
from benchmarks.torturing.arena import Arena, arena, now_ms, submitting
from benchmarks.torturing.crew import Crew, until
from benchmarks.torturing.faults import Tormentor
from benchmarks.torturing.plan import Plan
from benchmarks.torturing.submitter import AIMED, END

RECEIPTS = 240.0
"""Seconds after the last fault in which every job must have been accepted."""

STANDSTILL = 70.0
"""Seconds without another result after which none is expected: more than any lease, grace or reservation lasts."""

SETTLED = 2.0
"""Seconds for late settles, once every job has its result."""

VERDICT = 300.0
POLL_PAUSE = 1.0
"""Seconds between two `rq info`."""

Say = Callable[[str], None]


@dataclass
class Watcher:
    """Runs `rq info` all the while: it must change nothing, and must not fail while there is a server."""

    arena: Arena
    looks: int = 0

    async def watch(self) -> None:
        """Look again and again, for ever."""
        argv = [sys.executable, "-m", "rq.cli", "info", "--url", self.arena.store.url]
        while True:
            began, log = now_ms(), self.arena.directory / "rq-info.log"
            log.write_bytes(b"")
            with started(argv, log) as child:
                await until(lambda child=child: child.popen.poll(), 120.0, "rq info to end")  # type: ignore[misc]
            self.looks += 1
            if child.popen.returncode and not self.arena.chronicle.excuses(began, now_ms()):
                self.arena.chronicle.complaints.append(f"rq info failed: {child.said}")
            await asyncio.sleep(POLL_PAUSE)


async def torture(plan: Plan, directory: Path, say: Say) -> dict[str, Any]:
    """Run a plan in an empty directory; the judge's verdict, with what went wrong besides."""
    with ExitStack() as stack:
        place = stack.enter_context(arena(plan, directory))
        crew = stack.enter_context(closing(Crew(place)))
        tormentor = Tormentor(place, crew, random.Random(plan.seed))
        for pool in [*["gpu"] * plan.workers, AIMED]:
            crew.hire(pool)
        watcher = Watcher(place)
        beside = [asyncio.create_task(crew.supervise()), asyncio.create_task(watcher.watch())]
        try:
            await _ended_by_faults(_all_of_it(plan, tormentor, say), beside)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        verdict = await _judge(place)
        return {**verdict, "complaints": place.chronicle.complaints, "rq_info_looks": watcher.looks}


async def _ended_by_faults(work: Awaitable[None], beside: list[asyncio.Task[None]]) -> None:
    """Do the work; what goes wrong beside it ends it too."""
    main = asyncio.ensure_future(work)
    try:
        await asyncio.wait([main, *beside], return_when=asyncio.FIRST_COMPLETED)
        for task in (main, *beside):
            if task.done():
                task.result()
    finally:
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)


async def _all_of_it(plan: Plan, tormentor: Tormentor, say: Say) -> None:
    place, crew = tormentor.arena, tormentor.crew
    await until(lambda: all(member.ready for member in crew.members) or None, what="every worker to be ready")
    say(f"{plan.jobs:,} jobs over {plan.seconds:.0f} s, {plan.workers} workers, seed {plan.seed}")
    began = asyncio.get_running_loop().time()
    with submitting(place) as submitter:
        async with asyncio.TaskGroup() as group:
            for at, kind in plan.faults():
                group.create_task(_at(began + at, kind, tormentor, say))
        place.ask(END)
        await until(submitter.popen.poll, RECEIPTS, "the submitter to have every receipt")
    if submitter.popen.returncode:
        raise BenchmarkError(f"the submitter failed: {submitter.said}")
    say("every job has its receipt; waiting for the results")
    await _drained(place)
    await asyncio.sleep(SETTLED)
    await crew.dismiss_all()


async def _at(moment: float, kind: str, tormentor: Tormentor, say: Say) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, moment - loop.time()))
    say(kind)
    await tormentor.commit(kind)


async def _drained(place: Arena) -> None:
    """Wait until nothing is left to do, or nothing happens any more. What is left then is for the judge to name."""
    loop = asyncio.get_running_loop()
    end, before = loop.time() + STANDSTILL, None
    while loop.time() < end:
        left = place.store.left()
        if left == 0 and not place.spooled():
            return
        if left != before:
            end, before = loop.time() + STANDSTILL, left
        await asyncio.sleep(0.2)


async def _judge(place: Arena) -> dict[str, Any]:
    """The verdict of a process that knows nothing of us."""
    argv = [sys.executable, "-m", "benchmarks.torture_checker", "--json", "--url", place.store.url]
    argv += ["--accepted", str(place.accepted), "--calls", str(place.calls), "--kills", str(place.chronicle.path)]
    argv += ["--aof", str(place.directory / "appendonlydir")]
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        said, complained = await asyncio.wait_for(process.communicate(), VERDICT)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    if process.returncode not in (0, 1) or not said:
        raise BenchmarkError(f"the judge failed: {last_line(complained.decode())}")
    told: dict[str, Any] = json.loads(said)
    return told
