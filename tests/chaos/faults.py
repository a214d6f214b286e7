"""Scenario faults: one of two upstreams is broken in each way in which upstreams break.

For each kind, jobs of every urgency, streamed and not, are submitted for a role whose chain is the broken model, then
the good one. Then, while no job waits, the broken upstream is repaired.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import BenchmarkError, Child, wait_for
from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import JobRequest
from tests.chaos.broken_upstream import GOOD
from tests.chaos.environment import START_TIMEOUT_S, Environment, environment, now_ms, write_line
from tests.chaos.harness import judge, workers
from tests.chaos.judge.evidence import PlannedJob
from tests.chaos.judge.fault_kinds import KINDS, Keeps
from tests.chaos.judge.promise import PATIENCE
from tests.chaos.progress import Progress
from tests.chaos.worker_pool import WorkerPool

POOLS = ("cloud", "cloud", "gpu", "degrade")
"""The broken upstreams are in the cloud, where two workers share each breaker; the good one is local."""

SLOTS = 4
GOOD_SLOTS = 128
CONSECUTIVE_FAILURES = 5
TIMEOUT_S = 1
GOOD_TIMEOUT_S = 10 * PATIENCE
JOBS_PER_SECOND = 250.0
BREAKERS = {"consecutive_failures": CONSECUTIVE_FAILURES, "open_for": "2s", "open_for_max": "4s", "slow_start": "1s"}
STEADY_BREAKERS = {**BREAKERS, "open_for": "3s", "open_for_max": "3s", "jitter": 0}
"""A policy like `open_for: 60s, open_for_max: 60s, jitter: 0`, with a time that a run can wait for."""
JOBS_AFTER_REPAIR = 5

END_TIMEOUT_S = 60.0 * PATIENCE
"""After the last job, every job ends within this time. The judge names what is left then."""
RECOVERY_TIMEOUT_S = 30.0 * PATIENCE
REPLY_TIMEOUT_S = 30.0 * PATIENCE
"""No fault of this scenario stops Redis: a late reply means a busy machine."""
POLL_INTERVAL_S = 0.05

URGENCIES = ("interactive", "background", "batch")


@dataclass(frozen=True)
class Fleet:
    """What all faults of a run share. `control` is the port that repairs upstreams."""

    environment: Environment
    pool: WorkerPool
    client: redis.Redis
    control: int


async def run(
    kinds: Sequence[str], jobs: int, directory: Path, progress: Progress, *, steady: bool = False
) -> dict[str, Any]:
    """Break one upstream in each of these ways; returns the verdict on each. `steady`: a breaker stays open for the
    same time each time, without jitter."""
    verdicts = []
    with (
        environment(directory, 128, []) as env,
        env.run_module(
            "tests.chaos.broken_upstream", "--log", str(directory / "calls-broken-1.jsonl"), *kinds
        ) as upstream,
    ):
        urls = _read_urls(upstream)
        control = urls.pop("control")
        env.write_config(_fleet_config(urls) | ({"breakers": STEADY_BREAKERS} if steady else {}))
        with workers(env, POOLS) as pool, env.server.client(REPLY_TIMEOUT_S) as client:
            await pool.wait_until_ready()
            progress.log_line(f"{len(pool.workers)} workers are ready")
            for kind in kinds:
                verdict = await _break(Fleet(env, pool, client, control), kind, jobs, progress)
                verdicts.append(verdict)
                progress.log_line(f"{kind}: {verdict['figures']['sample']}")
    return {"kept": all(verdict["kept"] for verdict in verdicts), "kinds": verdicts, "problems": []}


def _read_urls(upstream: Child) -> dict[str, Any]:
    wait_for(lambda: "\n" in upstream.log.read_text(), START_TIMEOUT_S, "the upstreams to start", upstream)
    urls: dict[str, Any] = json.loads(upstream.log.read_text().splitlines()[0])
    return urls


async def _break(fleet: Fleet, kind: str, count: int, progress: Progress) -> dict[str, Any]:
    env, client, began = fleet.environment, fleet.client, now_ms()
    env.accepted.unlink(missing_ok=True)  # the judge reads the jobs of this fault only
    async with AsyncOpenfall(config=load(env.config), producer="chaos") as llm:
        jobs = await _submit(llm, env, kind, count)
        progress.log_line(f"{kind}: {len(jobs):,} jobs are submitted")
        await _wait_for(lambda: not client.zcard("of:unfinished"), END_TIMEOUT_S)
        healed = await _repair(fleet.control, kind)
        progress.log_line(f"{kind}: no job waits; the upstream is repaired")
        # No breaker, no cooldown and no slow start keeps calls from it.
        await _wait_for(lambda: not client.hlen("of:blocked"), RECOVERY_TIMEOUT_S)
        after = await _submit(llm, env, kind, JOBS_AFTER_REPAIR, "after")
        await _wait_for(lambda: not client.zcard("of:unfinished"), END_TIMEOUT_S)
    if dead := [worker for worker in fleet.pool.workers if worker.gone]:
        raise BenchmarkError(f"a worker ended: {dead[0].child.last_output}")
    case = {"name": kind, "jobs": jobs, "after": after, "slots": SLOTS, "consecutive_failures": CONSECUTIVE_FAILURES,
            "began": began, "healed": healed}  # fmt: skip
    (env.directory / "case.json").write_text(json.dumps(case))
    return await judge("faults", env.directory, env.server.url)


async def _submit(llm: AsyncOpenfall, env: Environment, kind: str, count: int, prefix: str = "job") -> list[str]:
    """Submit jobs at a steady rate: each urgency in turn, every other job streamed. Returns their ids."""
    ids = [f"{prefix}-{kind}-{number:05}" for number in range(count)]
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number, job in enumerate(ids):
        await asyncio.sleep(max(0.0, start + number / JOBS_PER_SECOND - loop.time()))
        urgency = URGENCIES[number % 3] if prefix == "job" else "background"
        stream = number // 3 % 2 == 1
        request = JobRequest(job, {"id": job, "role": f"to-{kind}", "urgency": urgency, "stream": stream})
        (receipt,) = await llm.submit_many([request])
        if isinstance(receipt, Exception):
            raise BenchmarkError(f"{job} was refused: {receipt}") from receipt
        write_line(env.accepted, PlannedJob(job, f"to-{kind}", urgency))
    return ids


async def _repair(control: int, kind: str) -> float:
    """Repair an upstream; returns the moment, by its own clock."""
    with socket.create_connection(("127.0.0.1", control), timeout=10) as link:
        link.sendall(f"{kind}\n".encode())
        return float(await asyncio.to_thread(link.recv, 100))


async def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition holds, or the time is over."""
    for _ in range(int(seconds / POLL_INTERVAL_S)):
        if condition():
            return
        await asyncio.sleep(POLL_INTERVAL_S)


def _timeout(kind: str) -> float:
    """A short one where the fault is a call without an end. Elsewhere only a busy machine reaches it."""
    return TIMEOUT_S if "timeout" in KINDS[kind].errors else GOOD_TIMEOUT_S


def _fleet_config(urls: dict[str, str]) -> dict[str, Any]:
    """Every kind is a backend and a model of its own name; the chain of its role is that model, then the good one."""
    kinds = [name for name in urls if name != GOOD]
    backends: dict[str, Any] = {
        name: {"url": urls[name], "pool": "cloud", "slots": SLOTS, "billing": "flat"} for name in kinds
    }
    for name in kinds:
        if KINDS[name].keeps is Keeps.KEY:
            backends[name]["api_key"] = "sk-of-a-drill"
    backends[GOOD] = {"url": urls[GOOD], "pool": "gpu", "slots": GOOD_SLOTS}
    models: dict[str, Any] = {name: {"upstream": "m", "backends": [name], "timeout": _timeout(name)} for name in kinds}
    models[GOOD] = {"upstream": "m", "backends": [GOOD], "timeout": GOOD_TIMEOUT_S}
    return {
        "pools": {"gpu": {"local": "yes"}, "cloud": {"local": "no"}},
        "backends": backends,
        "models": models,
        "roles": {f"to-{name}": {"chain": [name, GOOD]} for name in kinds},
        "urgency": {
            "interactive": {"start_within": "1s", "expires_after": "2m"},
            "background": {"start_within": "2s", "expires_after": "5m"},
            "batch": {"start_within": "4s", "expires_after": "10m", "allow_cloud": "yes"},
        },
        "breakers": BREAKERS,
        "workers": {"slots": 128},
    }
