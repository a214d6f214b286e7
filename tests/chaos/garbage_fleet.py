"""The fleet of the scenario `garbage`: it has something under nearly every key of docs/redis.md."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.processes import Child, started, wait_for
from benchmarks.server import find_free_port
from openfall import AsyncOpenfall
from openfall.producers.cli.commands import run as run_command
from tests.chaos.environment import Environment, Service, mock_upstream

POOLS = ("gpu", "gpu", "cloud", "cards", "degrade")
DEAD_UPSTREAM = "http://127.0.0.1:9/v1"
"""Its jobs fall and are held, so that the keys of holds exist."""
SLOW_MS = 3000.0
CLIENT_KEY = "bot"
PARKED = "gpu.parked.batch"
"""A paused queue: jobs and a batch wait in it for the whole run."""
PRICE = {"in": 1, "out": 2}


@dataclass
class GarbageFleet:
    """The processes of a run. `key` opens the gateway and its page."""

    environment: Environment
    gateway: str
    helper: str
    children: list[Child] = field(default_factory=list)
    key: str = ""
    one_command: threading.Lock = field(default_factory=threading.Lock)

    def cli(self, *argv: str) -> tuple[int, str]:
        """Run a command inside this process: its exit code and its output."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with self.one_command, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = run_command([*argv, "--config", str(self.environment.config)])
        raw = out.buffer
        assert isinstance(raw, io.BytesIO)
        return code, raw.getvalue().decode(errors="replace")

    def make_key(self) -> None:
        """A key of the gateway, as an operator makes it, in place of one that is there."""
        self.cli("keys", "revoke", CLIENT_KEY)
        code, output = self.cli("keys", "new", CLIENT_KEY, "--admin")
        assert code == 0, output
        self.key = next(line for line in output.split() if line.startswith("of_"))

    @property
    def ended(self) -> list[str]:
        """The logs of the processes that have ended."""
        return [child.log.name for child in self.children if child.popen.poll() is not None]


def upstreams(directory: Path) -> list[Service]:
    """A quick one, a slow one, and an Ollama look-alike whose card holds one of two models."""
    models = ("alpha=10,0.2,0.05", "beta=10,0.2,0.05", "gamma=4,0.2,0.05")
    engine = ["--log", str(directory / "engine.jsonl"), *(part for model in models for part in ("--model", model))]
    return [
        mock_upstream("good", 20.0, directory),
        mock_upstream("slow", SLOW_MS, directory),
        Service("engine", "tests.chaos.card_server", engine, directory),
    ]


@asynccontextmanager
async def helper_server() -> AsyncIterator[str]:
    """The URL of a server that embeds texts, and refuses everything else in the way that its path names."""

    async def embed(request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        rows = [{"object": "embedding", "index": n, "embedding": [0.5, 1.5]} for n in range(len(texts))]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": rows, "model": "nomic", "usage": usage})

    async def busy(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "900"})

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no such parameter"}}, status=400)

    async def fail(request: web.Request) -> web.Response:
        return web.Response(status=410 if request.path == "/gone" else 500)

    application = web.Application()
    application.add_routes([
        web.post("/v1/embeddings", embed), web.post("/busy/v1/chat/completions", busy),
        web.post("/bad/v1/chat/completions", refuse), web.post("/hook", fail),
        web.post("/gone", fail),
    ])  # fmt: skip
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    port = find_free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def garbage_fleet(env: Environment, services: Mapping[str, Service]) -> AsyncIterator[GarbageFleet]:
    """Workers and a gateway, ready."""
    async with helper_server() as helper:
        address = f"127.0.0.1:{find_free_port()}"
        env.write_config(fleet_config(services, helper, address))
        fleet = GarbageFleet(env, f"http://{address}", helper)
        gateway = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(env.config), "--announce"]
        argvs = {f"worker-{number}": env.worker_argv(pool) for number, pool in enumerate(POOLS)} | {"gateway": gateway}
        with ExitStack() as stack:
            for name, argv in argvs.items():
                fleet.children.append(stack.enter_context(started(argv, env.directory / f"{name}.log")))
            for child in fleet.children:
                ready = lambda log=child.log: '"ready"' in log.read_text(errors="replace")  # noqa: E731
                await asyncio.to_thread(wait_for, ready, 60.0, child.log.name, child)
            yield fleet


def fleet_config(services: Mapping[str, Service], helper: str, gateway: str) -> dict[str, Any]:
    """The configuration: a backend of each kind that has keys of its own in Redis."""
    good, slow, tower = (services[name].url for name in ("good", "slow", "engine"))
    backends = {
        "good": {"url": good, "pool": "gpu", "slots": 16},
        "slow": {"url": slow, "pool": "gpu", "slots": 16},
        "dead": {"url": DEAD_UPSTREAM, "pool": "gpu", "slots": 2},
        "busy": {"url": f"{helper}/busy", "pool": "gpu", "slots": 2},
        "bad": {"url": f"{helper}/bad", "pool": "gpu", "slots": 2},
        "helper": {"url": helper, "pool": "gpu", "slots": 2},
        "paid": {"url": good, "pool": "cloud", "billing": "metered"},
        "limited": {"url": good, "pool": "cloud", "billing": "flat", "plan_windows": ["5h", "7d"],
                    "api_keys": ["first-key-of-two", "second-key-of-two"], "requests_per_minute": 60_000},
        "tower": {"url": tower, "protocol": "ollama", "pool": "cards", "slots": 4, "vram_gb": 16},
    }  # fmt: skip
    plain = {
        name: {"upstream": name, "backends": [name]} for name in ("good", "slow", "dead", "busy", "bad", "limited")
    }
    models = plain | {
        "parked": {"upstream": "good", "backends": ["good"]},
        "paid": {"upstream": "good", "backends": ["paid"], "max_tokens": 200, "usd_per_mtok": PRICE},
        "nomic": {"upstream": "nomic-embed-text", "backends": ["helper"], "embeds": True},
        "alpha": {"upstream": "alpha", "backends": ["tower"], "vram_gb": 10, "load_time": 1},
        "beta": {"upstream": "beta", "backends": ["tower"], "vram_gb": 10, "load_time": 1},
    }
    return {
        "pools": {"gpu": {"local": True}, "cards": {"local": True}, "cloud": {}},
        "backends": backends,
        "models": models,
        "roles": {
            **{name: {"chain": [name]} for name in models if name != "nomic"},
            "dear": {"chain": ["dead", "paid"]},
            "both": {"chain": ["good", "slow"], "ensemble": {"answers": 2}},
            "last": {"chain": ["good"], "open_fall": ["last_answer", "hold"]},
        },
        "budgets": [{"name": "house", "usd": 100}],
        "urgency": {"background": {"start_within": "3s"}},  # jobs of the dead model are held after that
        "open_fall": {"notify": {"webhook": f"{helper}/hook"}},
        "webhooks": {"secret": "a secret of the garbage drill", "private": True},
        "gateway": {"listen": [gateway]},
    }


async def fill(fleet: GarbageFleet, client: AsyncOpenfall) -> None:
    """Make the keys that need an action: of operators, of failed and waiting jobs, of notifications."""
    await asyncio.to_thread(fleet.make_key)
    for command in (
        ("models", "pin", "alpha"), ("models", "load", "alpha"),
        ("budgets", "raise", "house", "5", "--for", "1h"), ("breakers", "force-open", "bad@bad", "--for", "1h"),
        ("breakers", "reset", "bad@bad"), ("models", "check", "good", "--force"),
    ):  # fmt: skip
        await asyncio.to_thread(fleet.cli, *command)
    for role in ("bad", "busy", "dear", "limited", "last", "both", "alpha"):
        await client.submit(f"fill {role}", role=role, urgency="background", webhook=f"{fleet.helper}/hook")
    await client.submit("fill gone", role="good", webhook=f"{fleet.helper}/gone")
    cancelled = await client.submit("fill parked", role="parked", urgency="batch")
    await client.cancel(cancelled.id)


async def park(fleet: GarbageFleet) -> None:
    """Pause a queue, and let jobs of two producers wait in it."""
    await asyncio.to_thread(fleet.cli, "queues", "pause", PARKED)
    for number in range(6):
        async with AsyncOpenfall(config=fleet.environment.config, producer=("night", "day")[number % 2]) as other:
            await other.submit(f"parked {number}", role="parked", urgency="batch")
