"""An Ollama look-alike with a card: loads take time, and what does not fit evicts by the server's own rule.

After server/sched.go of 2026-08-21, as far as its scheduler goes: one load at a time, in order of arrival; the victim
is the first idle model by name; a model is loaded beside others only into 80 % of the free memory. Its answers are
made up."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

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
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    slots: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def free_gb(self) -> float:
        return self.vram_gb - sum(self.sizes[model] for model in self.memory)

    async def ready(self, model: str) -> None:
        async with self.loading:
            while model not in self.memory:
                if not self.memory or 0.8 * self.free_gb() >= self.sizes[model]:
                    self.loads.append(model)
                    await asyncio.sleep(self.load_seconds.get(model, 0.05))
                    if model in self.broken:
                        raise web.HTTPInternalServerError(
                            text=json.dumps(
                                {"error": "llama-server process has terminated: cudaMalloc failed: out of memory"}
                            ),
                            content_type="application/json",
                        )
                    self.memory.add(model)
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
        await asyncio.sleep(UNLOAD_SECONDS)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        if model not in self.memory:
            self.waited_for_a_load += 1
            await self.ready(model)
        self.users[model] += 1
        try:
            async with self.slots.setdefault(model, asyncio.Semaphore(self.parallel)):
                self.calls.append((model, str(body["messages"][-1]["content"])))
                seconds = self.call_seconds.get(model, 0.0)
                words = str(body["messages"][-1]["content"]).split()
                await asyncio.sleep(float(words[1]) if len(words) == 2 and words[0] == "takes" else seconds)
        finally:
            self.users[model] -= 1
        return await _answer(request, body, model)

    async def generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["model"] not in self.sizes:
            return web.json_response({"error": f"model '{body['model']}' not found"}, status=404)
        if body.get("keep_alive") == 0:
            await self.unload(body["model"])
        else:
            await self.ready(body["model"])
        return web.json_response({"model": body["model"], "done": True})

    async def tags(self, _request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": model, "model": model} for model in self.sizes]})

    async def ps(self, _request: web.Request) -> web.Response:
        sizes = {model: int(self.sizes[model] * GIB) for model in sorted(self.memory)}
        rows = [{"name": model, "model": model, "size": size, "size_vram": size} for model, size in sizes.items()]
        return web.json_response({"models": rows})

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": "0.30.0"})


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
    application = web.Application()
    application.add_routes([
        web.post("/api/chat", ollama.chat), web.post("/api/generate", ollama.generate),
        web.get("/api/tags", ollama.tags),
        web.get("/api/ps", ollama.ps), web.get("/api/version", ollama.version),
    ])  # fmt: skip
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ollama.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield ollama
    finally:
        await runner.cleanup()
