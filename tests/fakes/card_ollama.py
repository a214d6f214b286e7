"""An Ollama look-alike with a card: loads take time, and what does not fit evicts by the server's own rule.

After server/sched.go of 2026-08-21, as far as its scheduler goes: one load at a time, in order of arrival; the victim
is the first idle model by name; a model is loaded beside others only into 80 % of the free memory. Its answers are
made up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import web

from tests.fakes.shared_compute import SharedCompute

GIB = 2**30
UNLOAD_SECONDS = 0.02
OUT_OF_MEMORY = "llama-server process has terminated: cudaMalloc failed: out of memory"


@dataclass
class CardOllama:
    """`loads`: every load, oldest first. `waited_for_a_load`: calls that arrived before their model was ready.
    `broken`: models whose load fails. `evictions_by_itself`: models that left because another needed the memory."""

    sizes: Mapping[str, float]
    vram_gb: float
    load_seconds: Mapping[str, float] = field(default_factory=dict)
    parallel: int = 4
    url: str = ""
    memory: set[str] = field(default_factory=set)
    users: Counter[str] = field(default_factory=Counter)
    loads: list[str] = field(default_factory=list)
    call_seconds: dict[str, float] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    evictions_by_itself: int = 0
    waited_for_a_load: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list)
    parallel_of: Mapping[str, int] = field(default_factory=dict)
    """Calls at once, of models with another number than `parallel`."""
    compute: SharedCompute | None = None
    """None: calls of different models do not slow each other."""
    taken_gb: float = 0.0
    """Memory that another program uses."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Other names of models. Like an Ollama it takes a name in any case, and shows a model in memory by the name of the
    request that loaded it."""
    shown: dict[str, str] = field(default_factory=dict)
    note: Callable[..., None] = field(default=lambda **_: None)
    """Called with what happens: a load, an end of a load, an eviction, a call, its answer."""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    slots: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def free_gb(self) -> float:
        return self.vram_gb - self.taken_gb - sum(self.sizes[model] for model in self.memory)

    def named(self, name: str) -> str:
        """The model of a name."""
        known = {known.casefold(): known for known in (*self.sizes, *self.names)}
        short = name.casefold().removeprefix("registry.ollama.ai/").removeprefix("library/").removesuffix(":latest")
        known_as = known.get(short, name)
        model = self.names.get(known_as, known_as)
        if model not in self.memory:
            self.shown[model] = known_as
        return model

    async def ready(self, model: str) -> None:
        async with self.loading:
            while model not in self.memory:
                if not self.memory or 0.8 * self.free_gb() >= self.sizes[model]:
                    self.loads.append(model)
                    self.note(event="load", model=model)
                    await asyncio.sleep(self.load_seconds.get(model, 0.05))
                    if model in self.broken or self.sizes[model] > self.free_gb():
                        raise web.HTTPInternalServerError(
                            text=json.dumps({"error": OUT_OF_MEMORY}), content_type="application/json"
                        )
                    self.memory.add(model)
                    self.note(event="loaded", model=model)
                    return
                idle = [name for name in sorted(self.memory) if not self.users[name]]
                victim = (idle or sorted(self.memory))[0]
                while self.users[victim]:
                    await asyncio.sleep(0.002)
                self.evictions_by_itself += 1
                await self.unload(victim)

    async def unload(self, model: str) -> None:
        while self.users[model]:
            await asyncio.sleep(0.002)
        self.memory.discard(model)
        self.note(event="unloaded", model=model)
        await asyncio.sleep(UNLOAD_SECONDS)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = self.named(body["model"])
        if model not in self.memory:
            self.waited_for_a_load += 1
            await self.ready(model)
        self.users[model] += 1
        try:
            parallel = self.parallel_of.get(model, self.parallel)
            async with self.slots.setdefault(model, asyncio.Semaphore(parallel)):
                self.calls.append((model, str(body["messages"][-1]["content"])))
                self.note(event="call", model=model, job=self.calls[-1][1])
                seconds = self.call_seconds.get(model, 0.0)
                words = str(body["messages"][-1]["content"]).split()
                seconds = float(words[1]) if words[:1] == ["takes"] else seconds
                await (asyncio.sleep(seconds) if self.compute is None else self.compute.run(model, seconds))
        finally:
            self.users[model] -= 1
        self.note(event="answered", model=model, job=str(body["messages"][-1]["content"]))
        return await _answer(request, body, model)

    async def generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        model = self.named(body["model"])
        if model not in self.sizes:
            return web.json_response({"error": f"model '{body['model']}' not found"}, status=404)
        if body.get("keep_alive") == 0:
            await self.unload(model)
        else:
            await self.ready(model)
        return web.json_response({"model": body["model"], "done": True})

    async def tags(self, _request: web.Request) -> web.Response:
        names = {**{model: model for model in self.sizes}, **self.names}
        rows = [{"name": name, "model": name, "digest": _digest(model)} for name, model in names.items()]
        return web.json_response({"models": rows})

    async def ps(self, _request: web.Request) -> web.Response:
        sizes = {model: int(self.sizes[model] * GIB) for model in sorted(self.memory)}
        rows = [
            {"name": name, "model": name, "digest": _digest(model), "size": size, "size_vram": size}
            for model, size in sizes.items()
            for name in (self.shown.get(model, model),)
        ]
        return web.json_response({"models": rows})

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": "0.30.0"})

    def application(self) -> web.Application:
        """Its HTTP interface."""
        application = web.Application()
        application.add_routes([
            web.post("/api/chat", self.chat), web.post("/api/generate", self.generate), web.get("/api/tags", self.tags),
            web.get("/api/ps", self.ps), web.get("/api/version", self.version),
        ])  # fmt: skip
        return application


def _digest(model: str) -> str:
    return sha256(model.encode()).hexdigest()


async def _answer(request: web.Request, body: dict[str, Any], model: str) -> web.StreamResponse:
    part = {"model": model, "created_at": "2026-11-29T12:00:00Z", "message": {"role": "assistant", "content": "ok"}}
    whole = {**part, "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1}
    if body.get("stream") is False:
        return web.json_response(whole)
    response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
    await response.prepare(request)
    empty = {"role": "assistant", "content": ""}
    await response.write(json.dumps({**part, "done": False}).encode() + b"\n")
    await response.write(json.dumps({**whole, "message": empty}).encode() + b"\n")
    await response.write_eof()
    return response


@asynccontextmanager
async def card_ollama(sizes: Mapping[str, float], vram_gb: float, **more: Any) -> AsyncIterator[CardOllama]:
    """The look-alike on loopback."""
    ollama = CardOllama(sizes, vram_gb, **more)
    runner = web.AppRunner(ollama.application(), handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ollama.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield ollama
    finally:
        await runner.cleanup()
