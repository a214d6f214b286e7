"""Look-alikes of two servers that load models on order, with a card: llama-server's router mode, and llama-swap.

The router is after tools/server/server-models.cpp of llama.cpp: an order returns at once, `/models` has the state of a
load, a child that ends leaves `failed` and `exit_code`. llama-swap is after internal/server of 2026-08-22: a request
below `/upstream/MODEL` returns when the model is ready, 500 when its process ended; an unload returns when it has
stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class LoadingServer:
    """`states`: those of models that have any. `broken`: models whose process ends while it loads."""

    sizes: Mapping[str, float]
    vram_gb: float
    load_seconds: Mapping[str, float] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of models."""
    url: str = ""
    states: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    tasks: dict[str, asyncio.Task[bool]] = field(default_factory=dict)

    def start(self, model: str) -> asyncio.Task[bool]:
        self.states[model] = "loading"
        self.failed.discard(model)
        task = asyncio.create_task(self._load(model))
        self.tasks[model] = task
        return task

    async def _load(self, model: str) -> bool:
        """Whether its process lives: it ends if the memory does not suffice."""
        await asyncio.sleep(self.load_seconds.get(model, 0.02))
        others = sum(self.sizes[name] for name, state in self.states.items() if name != model and state == "loaded")
        if model in self.broken or others + self.sizes[model] > self.vram_gb:
            self.crash(model)
            return False
        self.states[model] = "loaded"
        return True

    def stop(self, model: str) -> None:
        self.states.pop(model, None)
        if task := self.tasks.pop(model, None):
            task.cancel()

    def name_of(self, name: str) -> str:
        return self.aliases.get(name, name)

    def aliases_of(self, model: str) -> list[str]:
        return [alias for alias, name in self.aliases.items() if name == model]

    def crash(self, model: str) -> None:
        self.states.pop(model, None)
        self.failed.add(model)


@dataclass
class LlamaRouter(LoadingServer):
    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/models", self.models), web.post("/models/load", self.load),
            web.post("/models/unload", self.unload), web.post("/v1/chat/completions", self.chat),
        ]  # fmt: skip

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self._row(name) for name in self.sizes]})

    def _row(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = {"value": self.states.get(name, "unloaded"), "args": ["llama-server"]}
        if name in self.failed:
            status |= {"failed": True, "exit_code": 1}
        return {
            "id": name,
            "aliases": self.aliases_of(name),
            "object": "model",
            "owned_by": "llamacpp",
            "status": status,
        }

    async def load(self, request: web.Request) -> web.Response:
        model = self.name_of((await request.json())["model"])
        if model not in self.sizes:
            return _refusal(404, "model is not found", "not_found_error")
        if model in self.states:
            return _refusal(400, "model is already running", "invalid_request_error")
        self.start(model)
        return web.json_response({"success": True})

    async def unload(self, request: web.Request) -> web.Response:
        model = self.name_of((await request.json())["model"])
        if model not in self.sizes:
            return _refusal(400, "model is not found", "invalid_request_error")
        if model not in self.states:
            return _refusal(400, "model is not running", "invalid_request_error")
        asyncio.get_running_loop().call_later(0.02, self.stop, model)
        return web.json_response({"success": True})

    async def chat(self, request: web.Request) -> web.Response:
        model = self.name_of((await request.json())["model"])
        if request.query.get("autoload") == "false" and self.states.get(model) != "loaded":
            return _refusal(400, "model is not loaded", "invalid_request_error")
        return _answer(model)


@dataclass
class LlamaSwap(LoadingServer):
    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/running", self.running), web.get("/upstream/{model}/v1/models", self.upstream),
            web.post("/api/models/unload/{model}", self.unload), web.get("/v1/models", self.list_models),
        ]  # fmt: skip

    async def running(self, _request: web.Request) -> web.Response:
        names = {"loaded": "ready", "loading": "starting"}
        rows = [{"model": name, "state": names[state], "ttl": 0} for name, state in self.states.items()]
        return web.json_response({"running": rows})

    async def upstream(self, request: web.Request) -> web.Response:
        model = self.name_of(request.match_info["model"])
        if model not in self.sizes:
            return _swap_refusal(404, "model not found")
        if self.states.get(model) != "loaded" and not await asyncio.shield(self.start(model)):
            return _swap_refusal(500, "upstream command exited prematurely")
        return web.json_response({"data": [{"id": model}]})

    async def unload(self, request: web.Request) -> web.Response:
        model = self.name_of(request.match_info["model"])
        if model not in self.sizes:
            return _swap_refusal(404, "model not found")
        self.stop(model)
        return web.Response(text="OK")

    async def list_models(self, _request: web.Request) -> web.Response:
        meta = {name: {"type": "model", "aliases": self.aliases_of(name)} for name in self.sizes}
        rows = [{"id": name, "object": "model", "meta": {"llamaswap": own}} for name, own in meta.items()]
        return web.json_response({"object": "list", "data": rows})


def _refusal(status: int, message: str, kind: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": message, "type": kind}}, status=status)


def _swap_refusal(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "server_error", "param": None, "code": "internal_error"}
    return web.json_response({"src": "llama-swap", "error": error}, status=status)


def _answer(model: str) -> web.Response:
    message = {"role": "assistant", "content": f"I am {model}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return web.json_response({"id": "x", "model": model, "choices": [choice]})


@asynccontextmanager
async def serving(server: LlamaRouter | LlamaSwap) -> AsyncIterator[str]:
    """The look-alike on loopback."""
    application = web.Application()
    application.add_routes(server.routes())
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server.url
    finally:
        await runner.cleanup()
        for task in server.tasks.values():
            task.cancel()
