"""Scenario gateway: requests while clients, gateways and workers are killed, and the upstream is away."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import BenchmarkError, Child, started
from benchmarks.server import find_free_port
from tests.chaos.environment import Environment, Service, environment, mock_upstream, now_ms, write_line
from tests.chaos.gateway_plan import AWAY_SECONDS, FROZEN_SECONDS, GatewayPlan
from tests.chaos.harness import DELIVERY_SECONDS, commit_faults, judge, workers
from tests.chaos.judge.gateway_verdict import ORPHAN_SECONDS
from tests.chaos.progress import Progress
from tests.chaos.worker_pool import WorkerPool, until

LATENCY_MS = 300.0
DELTA_MS = 40.0
SLOW_MS = 120_000.0
SLOTS = 40
STANDSTILL_SECONDS = 120.0
MAX_RESTART_SECONDS = 1.5


@dataclass
class Restarted:
    """A process that is killed, and started again after a moment. `done`: it ended by itself, with 0."""

    name: str
    argv: list[str]
    directory: Path
    starts: int = 0
    done: bool = False
    stack: ExitStack = field(default_factory=ExitStack)
    child: Child | None = None

    def start(self) -> None:
        self.starts += 1
        log = self.directory / f"{self.name}-{self.starts:03}.log"
        self.child = self.stack.enter_context(started(self.argv, log))

    @property
    def ready(self) -> bool:
        return self.child is not None and '"ready"' in self.child.log.read_text(errors="replace")

    async def stop(self) -> int | None:
        """SIGTERM; returns its status. None: something else has ended it meanwhile."""
        child = self.child
        if child is None:
            return None
        child.popen.send_signal(signal.SIGTERM)
        await until(lambda: True if self.child is not child or child.popen.poll() is not None else None, what=self.name)
        if self.child is not child:
            return None
        self.stack.close()
        self.child = None
        return int(child.popen.returncode)

    def kill(self) -> int:
        """SIGKILL; returns the pid."""
        assert self.child is not None
        pid = self.child.popen.pid
        self.child.popen.send_signal(signal.SIGKILL)
        self.child.popen.wait()
        self.stack.close()
        self.child = None
        return pid


@dataclass
class GatewayFaults:
    """Kills gateways, clients and workers, and takes the upstream away."""

    environment: Environment
    pool: WorkerPool
    gateways: list[Restarted]
    clients: list[Restarted]
    upstream: Service
    random: random.Random
    log_line: Callable[[str], None]

    def by_kind(self) -> dict[str, Any]:
        return {
            "gateway": self.kill_gateway, "client": self.kill_client, "worker": self.kill_worker,
            "restart": self.restart_gateway, "freeze": self.freeze_gateway,
            "upstream-away": self.take_away,
        }  # fmt: skip

    async def kill_gateway(self) -> None:
        if choices := [each for each in self.gateways if each.ready]:
            await self._restart(self.random.choice(choices), "gateway")

    async def restart_gateway(self) -> None:
        """SIGTERM to a gateway, as in a deploy: it must end with 0."""
        choices = [each for each in self.gateways if each.ready]
        if not choices:
            return
        victim, began = self.random.choice(choices), now_ms()
        self.log_line(f"a restart of {victim.name}")
        status = await victim.stop()
        if status not in (0, None):
            self.environment.fault_log.problems.append(f"{victim.name} ended with {status} after SIGTERM")
        if status is not None:
            self.environment.fault_log.note("restart", began, ended=now_ms())
            victim.start()

    async def freeze_gateway(self) -> None:
        """The first gateway stands still for longer than its leases, and continues."""
        victim, began = self.gateways[0], now_ms()
        if not victim.ready or victim.child is None:
            return
        process = victim.child.popen
        self.log_line(f"{victim.name} stands still for {FROZEN_SECONDS:g} s")
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN_SECONDS)
        process.send_signal(signal.SIGCONT)  # no effect if it was killed meanwhile
        self.environment.fault_log.note("frozen", began, ended=now_ms())

    async def kill_client(self) -> None:
        choices = [each for each in self.clients if each.child is not None and each.child.popen.poll() is None]
        if choices:
            await self._restart(self.random.choice(choices), "client")

    async def _restart(self, victim: Restarted, kind: str) -> None:
        began = now_ms()
        pid = victim.kill()
        row = {"kind": kind, "began": began, "ended": now_ms(), "pid": pid, "job": victim.name}
        write_line(self.environment.fault_log.path, row)
        self.log_line(f"kill -9 {victim.name} ({pid})")
        await asyncio.sleep(self.random.uniform(0, MAX_RESTART_SECONDS))
        victim.start()

    async def kill_worker(self) -> None:
        victim = self.random.choice(await until(lambda: self.pool.undisturbed("gpu") or None))
        self.pool.kill(victim, "worker")
        self.log_line(f"kill -9 a worker ({victim.pid})")

    async def take_away(self) -> None:
        began = now_ms()
        self.upstream.kill()
        self.log_line(f"the upstream is away for {AWAY_SECONDS:g} s")
        await asyncio.sleep(AWAY_SECONDS)
        await asyncio.to_thread(self.upstream.start)
        self.environment.fault_log.note("upstream-away", began, ended=now_ms())


async def run(plan: GatewayPlan, directory: Path, progress: Progress) -> dict[str, Any]:
    """Run a plan in an empty directory; returns the verdict, with the problems of the run."""
    options = ["--delta-ms", str(DELTA_MS)]
    upstream = mock_upstream("mock", LATENCY_MS, directory)
    slow = mock_upstream("slow", SLOW_MS, directory)
    upstream.options = [*upstream.options, *options]
    for row in plan.plans():
        write_line(directory / "requests.jsonl", row)
    with environment(directory, SLOTS, [upstream, slow]) as env, ExitStack() as stack:
        env.write_config(_fleet_config(upstream, slow))
        gateways, urls = _gateways(plan, env)
        clients = _clients(plan, directory, urls)
        for each in (*gateways, *clients):
            stack.callback(each.stack.close)
        with workers(env, [*["gpu"] * plan.workers, "degrade"]) as pool:
            supervising = asyncio.create_task(pool.supervise())
            try:
                for gateway in gateways:
                    gateway.start()
                await pool.wait_until_ready()
                await until(lambda: all(gateway.ready for gateway in gateways) or None, what="the gateways")
                faults = GatewayFaults(
                    env, pool, gateways, clients, upstream, random.Random(plan.seed), progress.log_line
                )
                await _let_clients_work(plan, faults, progress)
                progress.log_line(f"every client is done; the judge looks for orphans in {ORPHAN_SECONDS:g} s at most")
                await _until_no_job_is_open(env)
                verdict = await judge("gateway", directory, env.server.url)
                if supervising.done():
                    supervising.result()
            finally:
                supervising.cancel()
                await asyncio.gather(supervising, return_exceptions=True)
    return {**verdict, "problems": env.fault_log.problems}


async def _until_no_job_is_open(env: Environment) -> None:
    """Return when every job has ended or is held, and late settles are written; or when the judge's time is over."""
    deadline = asyncio.get_running_loop().time() + ORPHAN_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        if env.server.ask(lambda client: client.zcard("of:unfinished") == client.zcard("rq:deferred:degrade")):
            await asyncio.sleep(DELIVERY_SECONDS)
            return
        await asyncio.sleep(0.2)


async def _let_clients_work(plan: GatewayPlan, faults: GatewayFaults, progress: Progress) -> None:
    for client in faults.clients:
        client.start()
    progress.log_line(f"{plan.requests:,} jobs over {plan.seconds:.0f} s, {plan.gateways} gateways, seed {plan.seed}")
    committing = asyncio.create_task(commit_faults(plan.faults(), faults.by_kind()))
    try:
        await _until_done(faults, committing)
    finally:
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)


async def _until_done(faults: GatewayFaults, committing: asyncio.Task[None]) -> None:
    """Return when every client has ended by itself, and every fault is over."""
    loop, directory = asyncio.get_running_loop(), faults.environment.directory
    deadline, before = loop.time() + STANDSTILL_SECONDS, -1
    while not (committing.done() and all(map(_ended, faults.clients))):
        size = sum(path.stat().st_size for path in directory.glob("client-*.jsonl"))
        if size != before:
            deadline, before = loop.time() + STANDSTILL_SECONDS, size
        if loop.time() > deadline:
            faults.environment.fault_log.problems.append("the clients stand still")
            return
        await asyncio.sleep(0.2)
    committing.result()


def _ended(client: Restarted) -> bool:
    if client.child is None or client.child.popen.poll() is None:
        return False
    if client.child.popen.returncode:
        raise BenchmarkError(f"a client failed: {client.child.last_output}")
    return True


def _gateways(plan: GatewayPlan, env: Environment) -> tuple[list[Restarted], list[str]]:
    """The gateways, each with a configuration of its own, and their addresses. The last has two processes."""
    fleet, gateways, urls = yaml.safe_load(env.config.read_text()), [], []
    for number in range(plan.gateways):
        port, file = find_free_port(), env.directory / f"gateway-{number}.yaml"
        section = {"listen": [f"127.0.0.1:{port}"], "processes": 1 + (number == plan.gateways - 1)}
        file.write_text(yaml.safe_dump({**fleet, "gateway": section}))
        argv = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(file), "--announce"]
        gateways.append(Restarted(f"gateway-{number}", argv, env.directory))
        urls.append(f"http://127.0.0.1:{port}")
    return gateways, urls


def _clients(plan: GatewayPlan, directory: Path, urls: list[str]) -> list[Restarted]:
    clients = []
    for number in range(plan.clients):
        argv = [sys.executable, "-m", "tests.chaos.gateway_client", "--directory", str(directory)]
        argv += [
            "--number",
            str(number),
            "--of",
            str(plan.clients),
            "--gateways",
            ",".join(urls),
            "--seconds",
            str(plan.seconds),
        ]
        clients.append(Restarted(f"client-{number}", argv, directory))
    return clients


def _fleet_config(upstream: Service, slow: Service) -> dict[str, Any]:
    """The breakers are quick, so that an outage of some seconds spans several of their periods."""
    rows = {"mock": upstream, "slow": slow}
    return {
        "pools": {"gpu": {}},
        "backends": {
            name: {"protocol": "openai", "url": f"{service.url}/v1", "pool": "gpu", "slots": 60}
            for name, service in rows.items()
        },
        "models": {name: {"upstream": name, "backends": [name]} for name in rows},
        "roles": {"chat": {"chain": ["mock"]}, "slow": {"chain": ["slow"]}},
        "urgency": {"interactive": {"reply_within": "100s", "first_token_timeout": "90s", "timeout": "110s"}},
        "retry": {"max_retries": 0},
        "breakers": {"consecutive_failures": 3, "open_for": "1s", "open_for_max": "2s", "slow_start": "1s"},
        "open_fall": {"release": {"initial": 8, "max": 60}},
        "workers": {"slots": SLOTS},
    }
