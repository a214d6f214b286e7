"""Scenario torture: jobs run while workers and Valkey are killed and frozen."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import started
from tests.chaos.environment import Environment, environment, mock_upstream, now_ms, write_line
from tests.chaos.harness import check_exit, commit_faults, judge, run_with, show_progress, wait_until_idle, workers
from tests.chaos.progress import Progress
from tests.chaos.torture_faults import TortureFaults
from tests.chaos.torture_plan import Plan
from tests.chaos.torture_submitter import AIMED, END, MODELS
from tests.chaos.worker_pool import WorkerPool, until

RECEIPT_TIMEOUT_S = 240.0
"""After the last fault, every job is accepted within this time."""

LATE_SETTLE_SECONDS = 2.0
"""Time for late settles after every job has its result."""

RQ_INFO_INTERVAL_S = 1.0


@dataclass
class RqInfo:
    """Runs `rq info` during the whole run: it must change nothing, and must not fail while there is a server."""

    environment: Environment
    runs: int = 0

    async def repeat(self) -> None:
        """Run it again and again, for ever."""
        argv = [sys.executable, "-m", "rq.cli", "info", "--url", self.environment.server.url]
        fault_log = self.environment.fault_log
        while True:
            began, log = now_ms(), self.environment.directory / "rq-info.log"
            log.write_bytes(b"")
            with started(argv, log) as child:
                await until(child.popen.poll, 120.0, "rq info to end")
            self.runs += 1
            if child.popen.returncode and not fault_log.excuses(began, now_ms()):
                fault_log.problems.append(f"rq info failed: {child.wording}")
            await asyncio.sleep(RQ_INFO_INTERVAL_S)


async def run(plan: Plan, directory: Path, progress: Progress) -> dict[str, Any]:
    """Run a plan in an empty directory; returns the verdict, with the problems of the run."""
    upstream = mock_upstream("mock", plan.latency_ms, directory)
    with environment(directory, plan.slots, [upstream]) as env:
        env.write_config(_fleet_config(plan, upstream.url))
        for name in ("requested", "accepted.jsonl"):
            (directory / name).touch()
        with workers(env, [*["gpu"] * plan.workers, AIMED]) as pool:
            rq_info = RqInfo(env)
            background = [pool.supervise(), rq_info.repeat(), show_progress(env, progress)]
            await run_with(background, _submit_and_torture(plan, env, pool, progress))
            verdict = await judge("torture", directory, env.server.url)
    return {**verdict, "problems": env.fault_log.problems, "rq_info_runs": rq_info.runs}


async def _submit_and_torture(plan: Plan, env: Environment, pool: WorkerPool, progress: Progress) -> None:
    await pool.wait_until_ready()
    progress.log_line(f"{plan.jobs:,} jobs over {plan.seconds:.0f} s, {plan.workers} workers, seed {plan.seed}")
    faults = TortureFaults(env, pool, random.Random(plan.seed), progress.log_line)
    with env.run_module("tests.chaos.torture_submitter", *_submitter_options(plan, env)) as submitter:
        await commit_faults(plan.faults(), faults.by_kind())
        write_line(env.directory / "requested", END)
        await until(submitter.popen.poll, RECEIPT_TIMEOUT_S, "the submitter to have every receipt")
    check_exit(submitter, "submitter")
    progress.log_line("every job has its receipt; waiting for the results")
    await wait_until_idle(env)
    await asyncio.sleep(LATE_SETTLE_SECONDS)
    await pool.stop_all()


def _submitter_options(plan: Plan, env: Environment) -> Sequence[str]:
    options = ["--url", env.server.url, "--directory", str(env.directory)]
    return [*options, "--jobs", str(plan.jobs), "--seconds", str(plan.seconds)]


def _fleet_config(plan: Plan, upstream: str) -> dict[str, Any]:
    backend = {"protocol": "openai", "url": f"{upstream}/v1"}
    return {
        "pools": {"gpu": {}, AIMED: {}},
        "backends": {
            "mock": {**backend, "pool": "gpu", "slots": plan.at_once},
            AIMED: {**backend, "pool": AIMED, "slots": 4},
        },
        "models": {
            **{model: {"upstream": "mock", "backends": ["mock"]} for model in MODELS},
            AIMED: {"upstream": "mock", "backends": [AIMED]},
        },
        "roles": {"torture": {"chain": list(MODELS)}, "aimed": {"chain": [AIMED]}},
    }
