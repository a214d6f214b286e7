"""The course of a run: jobs and faults, background tasks, the wait for the end, the judge."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT, BenchmarkError, Child, last_line
from tests.chaos import outage_plan, torture_plan
from tests.chaos.environment import Environment, write_line
from tests.chaos.progress import Progress, count_jobs
from tests.chaos.submitter import ALL_SUBMITTED
from tests.chaos.worker_pool import WorkerPool, until

STANDSTILL_SECONDS = 75.0
"""After this time without any change none is expected: longer than a lease, a grace, a reservation or a retry."""

RECEIPT_TIMEOUT_S = 240.0
"""After the last fault, every job is accepted within this time."""

DELIVERY_SECONDS = 2.0
"""Time for late settles and for notifications on their way, after the last end."""

STOP_TIMEOUT_S = 30.0
JUDGE_TIMEOUT_S = 300.0
POLL_INTERVAL_S = 0.2

Work = Coroutine[Any, Any, None]
Fault = Callable[[], Awaitable[None]]
Plan = torture_plan.Plan | outage_plan.Plan


@dataclass(frozen=True)
class Run:
    """A run. `hook` is the URL for webhooks."""

    scenario: str
    environment: Environment
    pool: WorkerPool
    progress: Progress
    hook: str = ""

    async def judged(self, plan: Plan, faults: Mapping[str, Fault], *background: Work) -> dict[str, Any]:
        """Carry out a plan; returns the verdict, with the problems of the run."""
        env = self.environment
        work = self._submit_and_break(plan, faults)
        await _run_with([self.pool.supervise(), _show_progress(env, self.progress), *background], work)
        self.progress.log_line("the judge reads the evidence")
        return {**await judge(self.scenario, env.directory, env.server.url), "problems": env.fault_log.problems}

    async def _submit_and_break(self, plan: Plan, faults: Mapping[str, Fault]) -> None:
        env, pool, log_line = self.environment, self.pool, self.progress.log_line
        await pool.wait_until_ready()
        for job in plan.job_plans():
            write_line(env.directory / "jobs.jsonl", job)
        options = ["--config", str(env.config), "--seconds", str(plan.seconds), "--hook", self.hook]
        with env.run_module("tests.chaos.submitter", *options) as submitter:
            await until(lambda: _printed(submitter, "began"), what="the submitter to begin")
            log_line(f"{plan.jobs:,} jobs over {plan.seconds:.0f} s, {len(pool.workers)} workers, seed {plan.seed}")
            await commit_faults(plan.faults(), faults)
            await until(lambda: _printed(submitter, ALL_SUBMITTED), RECEIPT_TIMEOUT_S, "every receipt")
            log_line("every job has its receipt; waiting for the results")
            await _wait_until_idle(env)
            await asyncio.sleep(DELIVERY_SECONDS)
            submitter.popen.send_signal(signal.SIGTERM)
            await until(submitter.popen.poll, STOP_TIMEOUT_S, "the submitter to end")
        if submitter.popen.returncode:
            raise BenchmarkError(f"the submitter failed: {submitter.last_output}")
        await pool.stop_all()


def _printed(child: Child, text: str) -> bool | None:
    """True when a process has printed this text; `BenchmarkError` if it ended."""
    if child.popen.poll() is not None:
        raise BenchmarkError(f"the submitter ended: {child.last_output}")
    return text in child.log.read_text() or None


@contextmanager
def workers(environment: Environment, pools: Sequence[str]) -> Iterator[WorkerPool]:
    """A worker for each name of a pool, starting."""
    with closing(WorkerPool(environment)) as pool:
        for name in pools:
            pool.start(name)
        yield pool


async def _run_with(background: Sequence[Work], work: Work) -> None:
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


async def _show_progress(environment: Environment, progress: Progress) -> None:
    """Show how many jobs are where, for ever."""
    while True:
        if not environment.fault_log.outage_now:
            counts = await asyncio.to_thread(environment.server.ask, count_jobs)
            if counts is not None:
                progress.show(counts)
        await asyncio.sleep(POLL_INTERVAL_S)


async def _wait_until_idle(environment: Environment) -> None:
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
