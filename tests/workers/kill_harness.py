"""Where degrade workers are killed: a real Valkey behind a gate, real worker processes, a model, a chat, a webhook.

The model works. A breaker that is forced open makes it look unavailable.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis.asyncio
import yaml
from aiohttp import web

from openfall.config import load
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.deciding.steps import Fall
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state import keys
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.reap_and_sweep import WaitingJob, move
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BreakerState, HoldReason, Urgency
from openfall.workers.worker_options import WorkerOptions, load_worker_config
from tests.fakes.discord import DiscordFake
from tests.fakes.discord import running as discord_running
from tests.gate import Gate, gate
from tests.valkey_server import Server
from tests.worker_harness import LONGER_THAN_A_LEASE_MS, pass_leases, running_worker, worker_command

ROOT = Path(__file__).resolve().parents[2]
QUEUE, MODEL, TARGET = "gpu.smol.interactive", "smol", "box/smol"
SCRIPTS = ("claim", "settle", "held_release", "incident_close", "outbox_claim", "notice_admit", "outbox_settle")
"""Those at which the gate may close: a server that knows one answers its first call."""

READY_WITHIN = 60.0


@dataclass
class Stage:
    """All of it. `hooks` are the webhooks that came (id, type), in order; `mute`: none of them is answered. `called`
    counts the calls of the model."""

    url: str
    link: RedisConnection
    store: Any
    gate: Gate
    config: Path
    discord: DiscordFake
    stack: AsyncExitStack
    hooks: list[tuple[str, str]] = field(default_factory=list)
    mute: bool = False
    called: int = 0
    workers: list[Process] = field(default_factory=list)

    async def fallen(self, job_id: str) -> None:
        """Accept an interactive job, and let it fall."""
        body = {"messages": [{"role": "user", "content": "Haruka waves"}]}
        job = CompletionJob(id=job_id, producer="tests", chain=(MODEL,), urgency=Urgency.INTERACTIVE, body=body)
        terms = SubmitTerms(queue=QUEUE, expires_after_seconds=600, keep_seconds=600, inbox="bot", reply_to=b'"there"')
        accepted = await JobStore(self.link).accept(job, terms)
        waiting = WaitingJob(id=job_id, deliveries=0, cause="stranded", attempts=b"", deadline=accepted.deadline,
                     accepted_at=0.0, queue=QUEUE, head=b"", answers=())  # fmt: skip
        assert await move(self.link, waiting, Fall(HoldReason.OUTAGE, "no model of its chain can be called"))

    async def breaker(self, state: BreakerState) -> None:
        """Whether the only model takes calls."""
        await force_breaker(self.link, TARGET, BreakerOverride(state, "forced by a test"), BreakerPolicy())

    async def process(self, *, gated: bool = True) -> Process:
        """A degrade worker that is ready and can be killed: behind the gate, or beside it."""
        command = worker_command(keys.DEGRADE, self.config if gated else self._open_config)
        log = (self.config.parent / f"worker-{len(self.workers)}.log").open("wb")
        with log:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, stdout=PIPE, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        self.workers.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(READY_WITHIN):
            assert b"ready" in await process.stdout.readline()
        return process

    async def worker(self, pool: str = keys.DEGRADE) -> None:
        """A worker that is ready and lives to the end, beside the gate. It runs in this process, which starts it in a
        tenth of the time."""
        config = load_worker_config(load(self._open_config), WorkerOptions(pool=pool))
        await self.stack.enter_async_context(running_worker(config))

    @property
    def _open_config(self) -> Path:
        return self.config.with_name("open.yaml")

    async def killed(self, worker: Process) -> None:
        """SIGKILL; and the time passes in which others think that it may still be alive."""
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        await pass_leases(self.link, worker.pid, keys.DEGRADE)
        for member in await self.store.zrange(keys.OUTBOX, 0, -1):
            await self.store.zincrby(keys.OUTBOX, -LONGER_THAN_A_LEASE_MS, member)

    async def end(self) -> None:
        """Kill every worker that still runs."""
        for worker in self.workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()

    async def at_the_gate(self) -> None:
        """Return when a worker stands still in the gate."""
        async with asyncio.timeout(60):
            await self.gate.held.wait()

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.02)

    async def is_held(self, job_id: str) -> bool:
        """Whether the job is held and no worker has claimed it."""
        state = await self.store.hget(keys.RECORD + job_id, "state")
        return state == "held" and not await self.store.zcard(keys.LEASES + keys.DEGRADE)

    async def events(self, job_id: str) -> Counter[str]:
        """How often each kind of event is in the story of a job."""
        rows = await self.store.lrange(keys.EVENTS + job_id, 0, -1)
        return Counter(json.loads(row)["event"] for row in rows)

    async def falls(self) -> Counter[str]:
        """How many records of a fall each job has."""
        return Counter(json.loads(fields["fall"])["id"] for _, fields in await self.store.xrange(keys.FALLS))

    async def incident(self) -> dict[str, str]:
        """The one incident that there is, open or over; nothing before there is one."""
        incident_keys = [key async for key in self.store.scan_iter(keys.INCIDENT + "*")]
        assert len(incident_keys) < 2
        fields: dict[str, str] = await self.store.hgetall(incident_keys[0]) if incident_keys else {}
        return fields

    async def mailed(self, job_id: str) -> Counter[str]:
        """How many messages of each kind the inbox has for a job."""
        rows = await self.store.xrange(f"{keys.INBOX}bot")
        return Counter(fields["kind"] for _, fields in rows if fields["id"] == job_id)

    async def _hook(self, request: web.Request) -> web.Response:
        event = await request.json()
        self.hooks.append((request.headers["webhook-id"], str(event["type"])))
        if self.mute:
            await asyncio.sleep(3600)
        return web.Response(status=204)

    async def _call(self, request: web.Request) -> web.Response:
        await request.read()
        self.called += 1
        choice = {"index": 0, "message": {"role": "assistant", "content": "Haruka waves"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        head = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        return web.json_response({**head, "usage": usage})

    @asynccontextmanager
    async def neighbours(self) -> AsyncIterator[str]:
        """The model, and the operator's own webhook."""
        app = web.Application()
        app.router.add_post("/hook", self._hook)
        app.router.add_post("/v1/chat/completions", self._call)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    def write(self, model: str, notify: dict[str, str]) -> None:
        """One configuration for workers behind the gate, and one for the others."""
        document: dict[str, Any] = {
            "data": str(self.config.parent / "data"),
            "backends": {"box": {"protocol": "openai", "url": f"{model}/v1", "pool": "gpu", "slots": 2}},
            "models": {MODEL: {"upstream": "m", "backends": ["box"]}},
            "roles": {"chat": {"chain": [MODEL]}},
            "open_fall": {"interactive": ["canned_reply", "hold"], "notify": notify},
            "webhooks": {"secret": "whsec_" + "b3BlbmZhbGwgdGVzdHMgb2Yga2lsbHMgb2Yga2lsbHM="},
        }
        self.config.write_text(yaml.safe_dump({**document, "redis": self.gate.url}))
        self._open_config.write_text(yaml.safe_dump({**document, "redis": self.url}))
        load(self.config)


@asynccontextmanager
async def staged(server: Server, home: Path, notifier: str) -> AsyncIterator[Stage]:
    """A stage whose incidents go to one notifier. Every process of it has ended when the block ends."""
    store = redis.asyncio.Redis(unix_socket_path=str(server.socket), decode_responses=True)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.aclose)
        link = await stack.enter_async_context(RedisConnection(server.url))
        own = await stack.enter_async_context(gate(server.socket, server.home / "gate.sock"))
        discord = await stack.enter_async_context(discord_running(DiscordFake()))
        stage = Stage(server.url, link, store, own, home / "openfall.yaml", discord, stack)
        place = await stack.enter_async_context(stage.neighbours())
        stack.push_async_callback(stage.end)
        stage.write(place, {"discord": discord.url} if notifier == "discord" else {"webhook": f"{place}/hook"})
        await link.load(*SCRIPTS)
        await stage.breaker(BreakerState.OPEN)
        yield stage
