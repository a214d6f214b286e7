"""Batches while gateways, their runners and workers are killed. The judge uses no code of ours."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.processes import BenchmarkError, Child, last_line, started
from benchmarks.server import find_free_port
from tests.chaos.environment import Environment, environment, mock_upstream, now_ms, write_line
from tests.chaos.progress import Progress
from tests.chaos.worker_pool import WorkerPool

QUICK_LINES = 600
BATCHES = 3
SLOTS = 32
LATENCY_MS = 20.0
GATEWAYS = 2
BAD_EVERY = 50
"""One in this number of lines cannot be answered, and belongs into the error file."""
STEP_DEATH = 0.004
"""The chance that a gateway dies at a step of its runner."""
WORKER_KILL_SECONDS = 6.0
ENDED_WITHIN_S = 480.0
POLL_SECONDS = 0.3


@dataclass
class DyingGateways:
    """Gateways of one directory. Each that is gone starts again."""

    environment: Environment
    death: float
    ports: list[int] = field(default_factory=lambda: [find_free_port() for _ in range(GATEWAYS)])
    running: dict[int, tuple[ExitStack, Child]] = field(default_factory=dict)
    starts: int = 0

    def url(self) -> str:
        return f"http://127.0.0.1:{random.choice(self.ports)}"

    def start(self, number: int) -> None:
        env, port = self.environment, self.ports[number]
        self.starts += 1
        config = env.directory / f"gateway-{number}.yaml"
        config.write_text(env.config.read_text() + f'gateway: {{listen: ["127.0.0.1:{port}"]}}\n')
        faults = str(env.fault_log.path)
        argv = [sys.executable, "-m", "tests.chaos.dying_gateway", str(self.death), faults, "--config", str(config)]
        stack = ExitStack()
        log = env.directory / f"gateway-{number}-{self.starts:03}.log"
        self.running[number] = stack, stack.enter_context(started(argv, log))

    async def supervise(self) -> None:
        """Replace each gateway that is gone, for ever. An end that is no SIGKILL is a problem."""
        while True:
            for number, (stack, child) in list(self.running.items()):
                code = child.popen.poll()
                if code is not None:
                    stack.close()
                    if code != -signal.SIGKILL:
                        self.environment.fault_log.problems.append(f"a gateway ended with {code}: {child.last_output}")
                    self.start(number)
            await asyncio.sleep(0.05)

    async def kill_at_random(self) -> None:
        """A kill between any two instructions, beside those at the steps."""
        while True:
            await asyncio.sleep(random.uniform(4, 8))
            _, child = self.running[random.randrange(GATEWAYS)]
            self.environment.fault_log.note("gateway", now_ms(), step="at random")
            child.popen.send_signal(signal.SIGKILL)

    def close(self) -> None:
        for stack, _ in self.running.values():
            stack.close()


async def run(lines: int, directory: Path, progress: Progress) -> dict[str, Any]:
    """The verdict of a run."""
    upstream = mock_upstream("mock", LATENCY_MS, directory)
    with environment(directory, SLOTS, [upstream]) as env, ExitStack() as stack:
        env.write_config({
            "backends": {"mock": {"url": upstream.url, "pool": "gpu", "slots": 2 * SLOTS}},
            "models": {"m": {"upstream": "m", "backends": ["mock"]}},
            "roles": {"main": {"chain": ["m"]}},
        })  # fmt: skip
        pool, gateways = WorkerPool(env), DyingGateways(env, STEP_DEATH)
        stack.callback(pool.close)
        stack.callback(gateways.close)
        for name in ("gpu", "gpu", "degrade"):
            pool.start(name)
        await pool.wait_until_ready()
        for number in range(GATEWAYS):
            gateways.start(number)
        background = [pool.supervise(), gateways.supervise(), gateways.kill_at_random(), _kill_workers(pool)]
        tasks = [asyncio.ensure_future(each) for each in background]
        work = asyncio.ensure_future(_answer_all(env, gateways, lines, progress))
        try:
            async with asyncio.timeout(ENDED_WITHIN_S):
                await asyncio.wait([work, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, *tasks):
                if not task.done():
                    task.cancel()
            await asyncio.gather(work, *tasks, return_exceptions=True)
        for task in (work, *tasks):
            if not task.cancelled():
                task.result()
        return {**await _judge(directory), "problems": env.fault_log.problems}


async def _kill_workers(pool: WorkerPool) -> None:
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * WORKER_KILL_SECONDS)
        if workers := pool.undisturbed("gpu"):
            pool.kill(random.choice(workers), "worker")


async def _answer_all(env: Environment, gateways: DyingGateways, lines: int, progress: Progress) -> None:
    share = lines // BATCHES
    await asyncio.gather(*(_answer_one(env, gateways, number, share, progress) for number in range(BATCHES)))


async def _answer_one(env: Environment, gateways: DyingGateways, number: int, lines: int, progress: Progress) -> None:
    """One batch: uploaded, created, polled and read through any gateway, again and again until one answers."""
    source = env.directory / f"input-{number}.jsonl"
    source.write_text("".join(json.dumps(_line(number, index)) + "\n" for index in range(lines)))
    form: Any = {"files": {"file": ("in.jsonl", source.read_bytes())}, "data": {"purpose": "batch"}}
    file = (await _request(gateways, "POST", "/v1/files", **form)).json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    headers = {"idempotency-key": f"batch-{number}"}
    batch = (await _request(gateways, "POST", "/v1/batches", json=body, headers=headers)).json()
    progress.log_line(f"batch {batch['id']}: {lines:,} lines")
    while batch["status"] not in ("completed", "failed", "expired", "cancelled"):
        await asyncio.sleep(POLL_SECONDS)
        batch = (await _request(gateways, "GET", f"/v1/batches/{batch['id']}")).json()
    names: dict[str, str] = {}
    for kind in ("output", "error"):
        if file_id := batch[f"{kind}_file_id"]:
            names[kind] = f"{kind}-{number}.jsonl"
            reply = await _request(gateways, "GET", f"/v1/files/{file_id}/content")
            (env.directory / names[kind]).write_bytes(reply.content)
    row = {"id": batch["id"], "lines": lines, "input": source.name, "counts": batch["request_counts"]}
    write_line(env.directory / "batches.jsonl", {**row, "output": names.get("output"), "error": names.get("error")})
    progress.log_line(f"batch {batch['id']}: {batch['status']} {batch['request_counts']}")
    if batch["status"] != "completed":
        raise BenchmarkError(f"batch {batch['id']} ended as {batch['status']}: {batch['errors']}")


def _line(number: int, index: int) -> dict[str, Any]:
    custom_id = f"batch-{number}-line-{index}"
    messages = [] if index % BAD_EVERY == BAD_EVERY - 1 else [{"role": "user", "content": custom_id}]
    body = {"model": "main", "messages": messages}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


async def _request(gateways: DyingGateways, method: str, path: str, **options: Any) -> httpx.Response:
    """Ask any gateway until one answers. A refusal that would stay is a failure of the run."""
    while True:
        with suppress(httpx.TransportError):
            async with httpx.AsyncClient(base_url=gateways.url(), timeout=10) as client:
                response = await client.request(method, path, **options)
            if response.status_code == 200:
                return response
            if response.status_code < 500:
                raise BenchmarkError(f"{method} {path}: {response.status_code} {response.text[:200]}")
        await asyncio.sleep(0.1)


async def _judge(directory: Path) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.chaos.judge.batch_verdict", str(directory)]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if not output:
        raise BenchmarkError(f"the judge failed: {last_line(errors.decode())}")
    verdict: dict[str, Any] = json.loads(output)
    return verdict
