"""Eight faults on a real fleet, and what the page shows of each.

`python -m tests.producers.page.eight_faults DIR [WORD...]` stages all of them, or those with one of the words in their
name. A reader who knows only these pages and docs/runbook.md is to name cause and remedy. The pages do not name the
fault: they are numbered in a random order, and DIR/key.txt has the order.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx
import redis.asyncio
from aiohttp import web

from benchmarks.server import find_free_port
from openfall.router_core.state import keys
from tests.fakes.card_ollama import CardOllama, card_ollama
from tests.faults import COMPLETION
from tests.producers.page.page_text import text_of
from tests.valkey_server import Server

CONFIG = """
redis: "{redis}"
data: "{data}"
pools: {{gpu: {{local: yes}}, cloud: {{}}}}
backends:
  tower: {{protocol: ollama, url: "{ollama}", pool: gpu, slots: 2, vram_gb: 24}}
  anthropic: {{protocol: openai, url: "{cloud}/anthropic/v1", api_key: k, pool: cloud, slots: 4, billing: metered}}
  openai: {{protocol: openai, url: "{cloud}/openai/v1", api_key: k, pool: cloud, slots: 4, billing: metered}}
models:
  llama-8b: {{upstream: "llama3.1:8b", backends: [tower], context: 32k, vram_gb: 6}}
  coder-32b: {{upstream: "qwen2.5-coder:32b", backends: [tower], context: 32k, vram_gb: {coder_gb}}}
  haiku: {{upstream: claude-haiku-4-5, backends: [anthropic], max_tokens: 4k, usd_per_mtok: {{in: 100, out: 400}}}}
  gpt-mini: {{upstream: gpt-5-mini, backends: [openai], max_tokens: 4k, usd_per_mtok: {{in: 1, out: 5}}}}
roles:
  chat: {{chain: [llama-8b], urgency: interactive}}
  coder: {{chain: [coder-32b], urgency: {coder_urgency}}}
  storyboard: {{chain: [haiku], urgency: background}}
  titles: {{chain: [gpt-mini], urgency: background}}
open_fall: {{interactive: [hold], background: [hold], batch: [hold]}}
gateway: {{listen: ["127.0.0.1:{port}"]}}
{more}
"""
ROLES = ("chat", "coder", "storyboard", "titles")


@dataclass
class Cloud:
    """Two providers. `broken`: those that are overloaded; `hangs`: those that never answer."""

    url: str = ""
    broken: set[str] = field(default_factory=set)
    hangs: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)

    async def complete(self, request: web.Request) -> web.Response:
        await request.read()
        provider = request.match_info["provider"]
        self.calls[provider] += 1
        if provider in self.hangs:
            await asyncio.sleep(3600)
        await asyncio.sleep(0.3)
        if provider in self.broken:
            error = {"error": {"type": "overloaded_error", "message": "Overloaded"}}
            return web.json_response(error, status=529)
        return web.json_response(COMPLETION)


@asynccontextmanager
async def cloud() -> AsyncIterator[Cloud]:
    providers = Cloud()
    application = web.Application()
    application.router.add_post("/{provider}/v1/chat/completions", providers.complete)
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    providers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield providers
    finally:
        await runner.cleanup()


@dataclass
class StagedFleet:
    """A gateway and workers as processes of their own, two providers, an Ollama with a card, and callers."""

    home: Path
    server: Server
    cloud: Cloud
    ollama: CardOllama
    port: int
    roles: tuple[str, ...] = ROLES
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "openfall.producers.cli", *arguments]
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = await asyncio.create_subprocess_exec(
                *command, "--config", str(self.home / "openfall.yaml"), stdout=log, stderr=log,
                env={**os.environ, "USER": "mika"},
            )  # fmt: skip

    async def command(self, *arguments: str) -> None:
        """A command of an operator."""
        await self.start("operator", *arguments)
        assert await self.processes.pop("operator").wait() == 0, (self.home / "operator.log").read_text()

    async def output_of(self, *arguments: str) -> str:
        """What a command prints, whatever its exit code."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "openfall.producers.cli", *arguments, "--config", str(self.home / "openfall.yaml"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "120"},
        )  # fmt: skip
        return (await process.communicate())[0].decode()

    async def end(self, name: str, *, kill: bool = False) -> None:
        process = self.processes.pop(name)
        if process.returncode is None:
            process.kill() if kill else process.terminate()
        await process.wait()

    async def ask(self, role: str, text: str = "Haruka waves") -> httpx.Response | None:
        body = {"model": role, "messages": [{"role": "user", "content": text}], "max_tokens": 50}
        async with httpx.AsyncClient(timeout=600) as client:
            try:
                return await client.post(f"{self.url}/v1/chat/completions", json=body)
            except httpx.HTTPError:
                return None

    async def callers(self) -> None:
        """Each role is asked about once in three seconds, whatever the former callers wait for."""
        async with asyncio.TaskGroup() as group:
            while True:
                for role in self.roles:
                    group.create_task(self.ask(role))
                    await asyncio.sleep(3 / len(self.roles))


async def _breaker_open(fleet: StagedFleet) -> None:
    fleet.cloud.broken.add("anthropic")
    await asyncio.sleep(100)


async def _no_worker(fleet: StagedFleet) -> None:
    await fleet.end("gpu", kill=True)
    await asyncio.sleep(60)


async def _paused_queue(fleet: StagedFleet) -> None:
    await fleet.command("queues", "pause", "cloud.haiku.background")
    await asyncio.sleep(60)


async def _budget(_fleet: StagedFleet) -> None:
    await asyncio.sleep(60)


async def _local_only(fleet: StagedFleet) -> None:
    await fleet.command("local-only", "on", "--reason", "guests")
    await asyncio.sleep(60)


async def _swap_thrash(_fleet: StagedFleet) -> None:
    await asyncio.sleep(280)


async def _redis_memory(fleet: StagedFleet) -> None:
    async with redis.asyncio.Redis(unix_socket_path=str(fleet.server.socket)) as store:
        for number in range(56):
            await store.set(f"other:cache:{number}", b"x" * 1_000_000)
    await asyncio.sleep(40)


async def _holds_poisoned(store: redis.asyncio.Redis) -> bool:
    """Whether a job is held as poisoned. On a slow machine others may be held meanwhile."""
    held = await store.zrange(keys.RQ_DEFERRED + keys.DEGRADE, 0, -1)
    reasons = [await store.hget(f"{keys.RECORD}{job.decode()}", "held_for") for job in held]
    return b"poisoned" in reasons


async def _poisoned_job(fleet: StagedFleet) -> None:
    fleet.cloud.hangs.add("openai")
    poison = asyncio.create_task(fleet.ask("titles", "a picture that no worker survives"))
    killed = 0
    async with redis.asyncio.Redis(unix_socket_path=str(fleet.server.socket)) as store:
        while not await _holds_poisoned(store):
            if fleet.cloud.calls["openai"] > killed:
                killed = fleet.cloud.calls["openai"]
                await fleet.end("cloud", kill=True)
                await fleet.start("cloud", "work", "cloud")
            await asyncio.sleep(0.2)
    fleet.cloud.hangs.clear()
    await asyncio.sleep(25)
    poison.cancel()


@dataclass(frozen=True)
class Fault:
    """`stage` brings it about in a fleet that has worked for a while. `late`: the role whose callers complain."""

    name: str
    late: str
    stage: Callable[[StagedFleet], Awaitable[None]]
    more: str = ""
    coder_gb: int = 12
    coder_urgency: str = "background"
    load_seconds: float = 2.0
    roles: tuple[str, ...] = ROLES
    maxmemory: str = "4gb"


FAULTS = (
    Fault("a breaker is open", "storyboard", _breaker_open),
    Fault("no worker", "chat", _no_worker),
    Fault("a paused queue", "storyboard", _paused_queue),
    Fault("a spent budget", "storyboard", _budget, "budgets: [{name: studio, usd: 0.05, per: day}]"),
    Fault("local only is on", "storyboard", _local_only),
    Fault(
        "models take turns on a card", "coder", _swap_thrash, coder_gb=20, coder_urgency="interactive", load_seconds=25
    ),
    Fault("the memory of Redis", "chat", _redis_memory, maxmemory="64mb"),
    Fault("a poisoned job", "titles", _poisoned_job, roles=("chat", "coder")),
)


@asynccontextmanager
async def fleet_with(fault: Fault) -> AsyncIterator[StagedFleet]:
    """The fleet before the fault."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="of-")))
        server = Server(home, ("--maxmemory", fault.maxmemory)).start()
        stack.callback(server.kill)
        sizes = {"llama3.1:8b": 6.0, "qwen2.5-coder:32b": float(fault.coder_gb)}
        ollama = await stack.enter_async_context(
            card_ollama(sizes, 24.0, load_seconds=dict.fromkeys(sizes, fault.load_seconds))
        )
        providers = await stack.enter_async_context(cloud())
        fleet = StagedFleet(home, server, providers, ollama, find_free_port(), fault.roles)
        text = CONFIG.format(
            redis=server.url, data=home / "data", ollama=ollama.url, cloud=providers.url, port=fleet.port,
            coder_gb=fault.coder_gb, coder_urgency=fault.coder_urgency, more=fault.more,
        )  # fmt: skip
        (home / "openfall.yaml").write_text(text)
        try:
            await fleet.start("gateway", "serve")
            for pool in ("gpu", "cloud", "degrade"):
                await fleet.start(pool, "work", pool)
            yield fleet
        finally:
            for name in list(fleet.processes):
                await fleet.end(name, kill=True)


async def _save(fleet: StagedFleet, fault: Fault, stem: Path) -> None:
    """The front page, the list of jobs of the late role, and the newest such job; then the same in a terminal."""
    async with httpx.AsyncClient(base_url=fleet.url, headers={"accept": "text/html"}, timeout=30) as browser:
        front, jobs = (await browser.get("/")).text, (await browser.get(f"/job?role={fault.late}")).text
        ids = re.findall(r'href="/job/([0-9a-f-]+)"', jobs)
        pages = {"the page /": text_of(front), f"the page /job?role={fault.late}": text_of(jobs)}
        if ids:
            path = f"/job/{ids[min(1, len(ids) - 1)]}"
            pages[f"the page {path}"] = text_of((await browser.get(path)).text)
    stem.with_suffix(".html").write_text(front)
    for command in (("top", "--once"), ("status",)):
        pages[f"openfall {' '.join(command)}"] = await fleet.output_of(*command)
    stem.with_suffix(".txt").write_text(
        f"The callers of the role {fault.late} say that their answers are late.\n\n"
        + "\n".join(f"===== {title}\n{text}\n" for title, text in pages.items())
    )
    await asyncio.to_thread(_picture, fleet.url, stem.with_suffix(".png"))


def _picture(url: str, path: Path) -> None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.screenshot(path=str(path), full_page=True)
        browser.close()


async def _stage(fault: Fault, stem: Path, turn: asyncio.Semaphore) -> None:
    async with turn, fleet_with(fault) as fleet:
        asking = asyncio.create_task(fleet.callers())
        await asyncio.sleep(45)
        await fault.stage(fleet)
        await _save(fleet, fault, stem)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    click.echo(stem.name)


async def stage_all(folder: Path, order: Sequence[Fault]) -> None:
    """Every fault once, three at a time."""
    turn = asyncio.Semaphore(3)
    async with asyncio.TaskGroup() as group:
        for number, fault in enumerate(order, 1):
            group.create_task(_stage(fault, folder / f"fault-{number}", turn))


def main(folder: Path, words: Sequence[str]) -> None:
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    order = random.sample(chosen, len(chosen))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.txt").write_text("".join(f"{number} {fault.name}\n" for number, fault in enumerate(order, 1)))
    asyncio.run(stage_all(folder, order))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
