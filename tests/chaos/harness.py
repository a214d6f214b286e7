"""The parts that every scenario shares: background tasks, the schedule of faults, the end of a run, the judge."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, BenchmarkError, Child, last_line
from tests.chaos.environment import Environment
from tests.chaos.progress import Progress, count_jobs
from tests.chaos.worker_pool import WorkerPool

STANDSTILL_SECONDS = 75.0
"""After this time without any change none is expected: longer than a lease, a grace, a reservation or a retry."""

JUDGE_TIMEOUT_S = 300.0
POLL_INTERVAL_S = 0.2

Work = Coroutine[Any, Any, None]
Fault = Callable[[], Awaitable[None]]


@contextmanager
def workers(environment: Environment, pools: Sequence[str]) -> Iterator[WorkerPool]:
    """A worker for each name of a pool, starting."""
    with closing(WorkerPool(environment)) as pool:
        for name in pools:
            pool.start(name)
        yield pool


async def run_with(background: Sequence[Work], work: Work) -> None:
    """Run `work`. An error of a background task ends it too."""
    tasks = [asyncio.ensure_future(work), *map(asyncio.ensure_future, background)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def commit_faults(plan: Sequence[tuple[float, str]], faults: Mapping[str, Fault]) -> None:
    """Commit each fault at its moment, in seconds from now; returns when all are over."""
    began = asyncio.get_running_loop().time()

    async def commit(at: float, kind: str) -> None:
        await asyncio.sleep(max(0.0, began + at - asyncio.get_running_loop().time()))
        await faults[kind]()

    async with asyncio.TaskGroup() as group:
        for at, kind in plan:
            group.create_task(commit(at, kind))


async def show_progress(environment: Environment, progress: Progress) -> None:
    """Show how many jobs are where, for ever."""
    while True:
        if not environment.fault_log.outage_now:
            counts = await asyncio.to_thread(environment.server.ask, count_jobs)
            if counts is not None:
                progress.show(counts)
        await asyncio.sleep(POLL_INTERVAL_S)


async def wait_until_idle(environment: Environment) -> None:
    """Wait until no job, incident, post or spooled settle is left, or nothing changes any more.

    The judge names what is left then.
    """

    def count_pending(client: Any) -> tuple[int, ...]:
        return (client.zcard("of:unfinished"), client.hlen("of:incidents"), client.zcard("of:outbox"))

    loop = asyncio.get_running_loop()
    deadline, before = loop.time() + STANDSTILL_SECONDS, None
    while loop.time() < deadline:
        counts = environment.server.ask(count_pending)
        pending = counts and (*counts, environment.spooled())
        if pending is not None and not any(pending):
            return
        if pending != before:
            deadline, before = loop.time() + STANDSTILL_SECONDS, pending
        await asyncio.sleep(POLL_INTERVAL_S)


def check_exit(child: Child, name: str) -> None:
    """`BenchmarkError` if a process of the run has failed."""
    if child.popen.returncode:
        raise BenchmarkError(f"the {name} failed: {child.wording}")


async def judge(scenario: str, directory: Path, url: str) -> dict[str, Any]:
    """The verdict of the judge, a process of its own."""
    argv = [sys.executable, "-m", "tests.chaos.judge", scenario, str(directory), "--url", url]
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), JUDGE_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    if process.returncode not in (0, 1) or not output:
        raise BenchmarkError(f"the judge failed: {last_line(errors.decode())}")
    verdict: dict[str, Any] = json.loads(output)
    return verdict
