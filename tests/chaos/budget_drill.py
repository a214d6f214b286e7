"""The scenario `budgets`: many workers under three budgets, some of them killed in mid-call, some costs unknown.

The provider bills each call when it arrives and keeps its own invoice, which the judge reads call by call. Beside it
the same jobs run with budgets that are checked before a call and recorded after it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import BenchmarkError, last_line
from openfall import AsyncOpenfall, config
from openfall.producers.job_request import JobRequest, SubmitOptions
from tests.budget_sums import unpack_sums
from tests.chaos.billing_upstream import INPUT_NUSD, MAX_OUTPUT, OUTPUT_NUSD
from tests.chaos.environment import Environment, Service, environment, write_line
from tests.chaos.progress import Progress, count_jobs
from tests.chaos.worker_pool import WorkerPool

QUICK_JOBS, QUICK_WORKERS = 120, 3
SLOTS = 8
UNKNOWN_SHARE, FILTERED_SHARE, KILLED_SHARE = 0.04, 0.02, 0.05
AFFORDED_SHARE = 0.6
"""The share of the jobs that the budget of the house pays for, at the mean cost of a call."""
GROUPS, PRODUCERS = ("bots", "people"), ("night", "day")
CALLS = ("chat", "chat", "chat", "responses", "embeddings")
"""What jobs ask for, in turns."""
WORDS = 300
KILL_INTERVAL_SECONDS = 0.4
KILLS = "kills.jsonl"
"""A line for each worker that was killed."""
READY_SECONDS, ENDED_SECONDS, STANDSTILL_SECONDS = 120.0, 1500.0, 120.0


@dataclass(frozen=True)
class BudgetPlan:
    """A run."""

    jobs: int
    workers: int
    seed: int
    latency_ms: float = 1500.0

    @property
    def limits(self) -> dict[str, int]:
        """In nanodollars, as the judge names them."""
        written = MAX_OUTPUT // 2 * OUTPUT_NUSD * (len(CALLS) - CALLS.count("embeddings")) // len(CALLS)
        mean = (WORDS + 60) // 2 * INPUT_NUSD + written
        house = int(self.jobs * mean * AFFORDED_SHARE)
        return {"house": house, "bots": house // 3, **{f"each:{name}": house * 9 // 20 for name in PRODUCERS}}

    def requests(self, producer: str) -> list[JobRequest]:
        """The jobs of one producer."""
        chance = random.Random(self.seed)
        requests = []
        for number in range(self.jobs):
            group, owner = chance.choice(GROUPS), PRODUCERS[number % len(PRODUCERS)]
            filler = "x" * chance.randint(1, WORDS)
            if owner == producer:
                job = f"job-{number:05}"
                text = f"{job} {group} {owner} {filler}"
                requests.append(_request(CALLS[number % len(CALLS)], text, {"id": job, "group": group}))
        return requests


def _request(call: str, text: str, options: SubmitOptions) -> JobRequest:
    if call == "embeddings":
        return JobRequest(text, {**options, "kind": "embedding", "model": "vectors"})
    if call == "responses":
        body = {"input": text, "max_output_tokens": MAX_OUTPUT}
        return JobRequest(body, {**options, "role": "main", "dialect": "responses"})
    return JobRequest(text, {**options, "role": "main", "max_tokens": MAX_OUTPUT})


def quick_plan(seed: int) -> BudgetPlan:
    return BudgetPlan(QUICK_JOBS, QUICK_WORKERS, seed, latency_ms=300.0)


async def _kill_in_mid_call(pool: WorkerPool, plan: BudgetPlan, chance: random.Random) -> None:
    """Kill workers, so that a share of all calls dies with them. Each is replaced."""
    killed = 0
    while True:
        await asyncio.sleep(KILL_INTERVAL_SECONDS)
        made, calls = await asyncio.to_thread(_count_calls, pool.environment)
        wanted = KILLED_SHARE * made
        busy = [worker for worker in pool.undisturbed("cloud") if calls[worker.pid]]
        chance.shuffle(busy)
        for worker in busy[: plan.workers // 4 + 1]:
            if killed >= wanted:
                break
            pool.kill(worker, "worker_killed")
            killed += calls[worker.pid]
            row = {"pid": worker.pid, "calls": calls[worker.pid]}
            write_line(pool.environment.directory / KILLS, row)


def _count_calls(env: Environment) -> tuple[int, Counter[int]]:
    """The calls that the house has made, and those in flight by the pid of their worker."""
    with env.server.client(30) as client:
        sums: dict[bytes, bytes] = client.execute_command("HGETALL", "of:budget-sums", NEVER_DECODE=True)
        made = sum(unpack_sums(packed)[3] for key, packed in sums.items() if key.startswith(b"house:"))
        with client.pipeline(transaction=False) as pipeline:
            for member in client.zrange("of:leases:mock", 0, -1):  # type: ignore[union-attr]
                pipeline.hget(f"of:job:{member.partition(':')[0]}", "worker")
            workers = [str(name or "") for name in pipeline.execute()]
    matches = (re.search(r"-(\d+)-[0-9a-f]+$", worker) for worker in workers)
    return made, Counter(int(match[1]) for match in matches if match)


async def run(plan: BudgetPlan, directory: Path, progress: Progress) -> dict[str, Any]:
    """The verdict of a run."""
    (directory / "limits.json").write_text(json.dumps(plan.limits))
    provider, naive = (_provider(plan, name, directory) for name in ("invoice", "naive"))
    with environment(directory, SLOTS, [provider, naive]) as env:
        env.write_config(_document(plan, provider.url))
        pool = WorkerPool(env, crowded=True)
        for name in ("degrade", *["cloud"] * plan.workers):
            pool.start(name)
        tasks = [
            asyncio.ensure_future(work)
            for work in (pool.supervise(), _kill_in_mid_call(pool, plan, random.Random(plan.seed)))
        ]
        try:
            await _wait_until_ready(env, plan)
            progress.log_line(f"{plan.workers} workers are ready")
            await asyncio.to_thread(asyncio.run, _submit(plan, env))  # workers are killed meanwhile
            await _wait_for_the_end(env, plan, progress)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            pool.close()
        if failed := next((end for end in ends if isinstance(end, Exception)), None):
            raise failed
        progress.log_line("the same jobs with check-then-record")
        await _run_naive(plan, env, naive.url)
        return {**await _judge(directory, env.server.url), "problems": env.fault_log.problems}


def _provider(plan: BudgetPlan, name: str, directory: Path) -> Service:
    options = {
        # No call ends before a worker was killed: a short run on a fast machine has one in mid-call too.
        "invoice": directory / f"{name}.jsonl", "after": directory / KILLS, "latency-ms": plan.latency_ms,
        "cut": UNKNOWN_SHARE, "filtered": FILTERED_SHARE, "seed": plan.seed,
    }  # fmt: skip
    words = [str(word) for option, value in options.items() for word in (f"--{option}", value)]
    return Service(name, "tests.chaos.billing_upstream", words, directory)


def _document(plan: BudgetPlan, url: str) -> dict[str, Any]:
    limits = {name: nusd / 1e9 for name, nusd in plan.limits.items()}
    then = ["refuse"]
    return {
        "backends": {"mock": {"url": url, "pool": "cloud", "slots": 4096, "responses": True}},
        "models": {
            "m": {
                "upstream": "m", "backends": ["mock"], "max_tokens": MAX_OUTPUT, "context": 8192,
                "usd_per_mtok": {"in": INPUT_NUSD / 1000, "out": OUTPUT_NUSD / 1000},
            },
            "vectors": {
                "upstream": "v", "backends": ["mock"], "embeds": True, "context": 8192,
                "usd_per_mtok": {"in": INPUT_NUSD / 1000, "out": 0},
            },
        },
        "roles": {"main": {"chain": ["m"]}},
        "groups": [{"name": name, "match": [name]} for name in GROUPS],
        "budgets": [
            {"name": "house", "usd": limits["house"], "then": then},
            {"name": "bots", "usd": limits["bots"], "group": "bots", "then": then},
            {"name": "each", "usd": limits[f"each:{PRODUCERS[0]}"], "each": "producer", "then": then},
        ],
        "breakers": {"consecutive_failures": 1000, "failure_rate": 1.0, "minimum_calls": 100_000},
    }  # fmt: skip


async def _wait_until_ready(env: Environment, plan: BudgetPlan) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while int(env.server.ask(lambda client: client.zcard("of:presence")) or 0) < plan.workers + 1:
            await asyncio.sleep(0.1)
            if problems := env.fault_log.problems:
                raise BenchmarkError(problems[0])


async def _submit(plan: BudgetPlan, env: Environment) -> None:
    loaded = config.load(env.config, environ={})
    for producer in PRODUCERS:
        async with AsyncOpenfall(config=loaded, producer=producer) as client:
            for answer in await client.submit_many(plan.requests(producer)):
                if isinstance(answer, Exception):
                    raise BenchmarkError(f"a job was not accepted: {answer}")


async def _wait_for_the_end(env: Environment, plan: BudgetPlan, progress: Progress) -> None:
    """Wait until each job has its end, and no lease is left; an audit after that compares every sum."""
    loop, ended = asyncio.get_running_loop(), -1
    changed_at = loop.time()
    async with asyncio.timeout(ENDED_SECONDS):
        while ended < plan.jobs:
            await asyncio.sleep(0.3)
            counts = env.server.ask(count_jobs)
            if counts is None:
                continue
            progress.show(counts)
            if counts["ended"] != ended:
                ended, changed_at = counts["ended"], loop.time()
            elif loop.time() - changed_at > STANDSTILL_SECONDS:
                raise BenchmarkError(f"nothing ends any more: {counts}")
        while env.server.ask(lambda client: client.zcard("of:leases:mock")):
            await asyncio.sleep(0.1)
        env.server.ask(lambda client: client.delete("of:lock:budget-audit"))
        while not env.server.ask(lambda client: client.exists("of:lock:budget-audit")):
            await asyncio.sleep(0.1)


async def _run_naive(plan: BudgetPlan, env: Environment, url: str) -> None:
    prompts = [request.prompt for producer in PRODUCERS for request in plan.requests(producer)]
    texts = [prompt["input"] if isinstance(prompt, Mapping) else prompt for prompt in prompts]
    bodies = [
        json.dumps({"model": "m", "max_tokens": MAX_OUTPUT, "messages": [{"role": "user", "content": text}]})
        for text in texts
    ]
    with env.server.client(30) as client:
        client.rpush("jobs", *bodies)
    arguments = [env.server.url, url, plan.workers, SLOTS, plan.limits["house"]]
    argv = [sys.executable, "-m", "tests.chaos.check_then_record", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    if process.returncode:
        raise BenchmarkError(f"check_then_record failed: {last_line(errors.decode())}")


async def _judge(directory: Path, url: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.chaos.judge.budget_verdict", str(directory), url]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if not output:
        raise BenchmarkError(f"the judge failed: {last_line(errors.decode())}")
    verdict: dict[str, Any] = json.loads(output)
    return verdict
