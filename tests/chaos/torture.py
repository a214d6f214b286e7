"""Scenario torture: jobs run while workers and Valkey are killed and frozen."""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import started
from tests.chaos.environment import Environment, environment, mock_upstream, now_ms
from tests.chaos.harness import Run, workers
from tests.chaos.progress import Progress
from tests.chaos.torture_faults import TortureFaults
from tests.chaos.torture_plan import AIMED, AIMED_ROLE, MODELS, ROLES, URGENCIES, Plan
from tests.chaos.worker_pool import until

RQ_INFO_INTERVAL_S = 5.0
"""Each start of `rq info` takes a third of a second of a processor."""


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
                fault_log.problems.append(f"rq info failed: {child.last_output}")
            await asyncio.sleep(RQ_INFO_INTERVAL_S)


async def run(plan: Plan, directory: Path, progress: Progress) -> dict[str, Any]:
    """Run a plan in an empty directory; returns the verdict, with the problems of the run."""
    upstream = mock_upstream("mock", plan.latency_ms, directory)
    with environment(directory, plan.slots, [upstream]) as env:
        env.write_config(_fleet_config(plan, upstream.url))
        with workers(env, [*["gpu"] * plan.workers, AIMED]) as pool:
            rq_info = RqInfo(env)
            faults = TortureFaults(env, pool, random.Random(plan.seed), progress.log_line)
            verdict = await Run("torture", env, pool, progress).judged(plan, faults.by_kind(), rq_info.repeat())
    return {**verdict, "rq_info_runs": rq_info.runs}


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
        "roles": {
            **{role: {"chain": list(chain)} for role, chain in ROLES.items()},
            AIMED_ROLE: {"chain": [AIMED]},
        },
        # No job is late or expires: a fall would have no degrade worker.
        "urgency": {name: {"start_within": "1h", "expires_after": "1h"} for name in URGENCIES},
    }
