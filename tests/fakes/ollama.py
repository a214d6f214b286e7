"""A fake of Ollama's server, for tests and drills: its protocol, its memory and its ways to fail, without Ollama.

Its answers are real: a llama-server (the embedded engine) behind it writes them. Its behaviour is that of Ollama's
source: server/routes.go (handlers, errors, load and unload), server/sched.go (queue, eviction, reload for another
context), llm/llama_server.go and llm/status.go (context errors, the words of out of memory), api/types.go (shapes,
durations), openai/openai.go and anthropic/anthropic.go (errors of the compatible endpoints). What Ollama's cloud says
is after public bug reports. Every model is the same model behind; only names, sizes and faults differ.

Faults of a model, set by `POST /fake/models {"name": ..., "fault": ...}` or by the constructor: those of `REFUSALS`
in `ollama_words`;
`oom` (it does not load), `on_cpu` (half of it), `error_line` and `oom_line` (within the stream), `cut` (the stream
ends early), `slow` (nothing for a minute). `POST /fake/memory {"vram": ...}` changes the card.

    python tests/fakes/ollama.py --engine http://127.0.0.1:8080 --port 11434 --model smollm2 --model big=40
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

if __package__ in (None, ""):  # run as a script: its own directory is on the path, the repository is not
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.fakes.llama_server import Engine, engine_message
from tests.fakes.ollama_memory import GIB, FakeModel, Memory, Refused, Runner
from tests.fakes.ollama_words import (
    CRASH,
    FOREVER,
    canonical,
    check_capabilities,
    generated,
    generation,
    in_dialect,
    in_generate,
    refusal,
    seconds_of,
    with_fault,
)

_BODY = web.RequestKey("body", dict)


@dataclass
class OllamaFake:
    """One server: its models, its memory, and the requests it got (path and body, in order)."""

    models: dict[str, FakeModel]
    memory: Memory
    url: str = ""
    key: str = ""
    """A bearer token that it requires, as Ollama's cloud does; empty: none."""
    calls_received: list[tuple[str, Any]] = None  # type: ignore[assignment]
    engine: Engine = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.calls_received = []

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20, middlewares=[self._guarded])
        app.add_routes([
            web.get("/", _running), web.get("/api/version", _version), web.get("/api/tags", self.tags),
            web.get("/api/ps", self.ps), web.post("/api/show", self.show), web.post("/api/chat", self.chat),
            web.post("/api/generate", self.generate), web.get("/v1/models", self.list_models),
            web.post("/v1/chat/completions", self.passed), web.post("/v1/messages", self.passed),
            web.post("/fake/models", self.set_model), web.post("/fake/memory", self.set_memory),
        ])  # fmt: skip
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                raise Refused(401, "unauthorized")
            if request.method == "POST":
                request[_BODY] = await _body(request)
                self.calls_received.append((request.path, request[_BODY]))
            return await _answered(request, handler)
        except Refused as refused:
            return web.json_response(in_dialect(request.path, refused), status=refused.status)

    def model(self, name: str) -> FakeModel:
        """The model of that name, with or without `:latest`. `Refused` if it is missing or fails at once."""
        if not name:
            raise Refused(400, "model is required")
        model = self.models.get(canonical(name))
        if model is None:
            raise Refused(404, f"model '{name}' not found")
        if refused := refusal(model.fault, name):
            raise refused
        return model

    async def tags(self, _request: web.Request) -> web.Response:
        return web.json_response({"models": [_described(model) for model in self.models.values()]})

    async def list_models(self, _request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "created": 1, "owned_by": "library"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def ps(self, _request: web.Request) -> web.Response:
        return web.json_response({"models": [_loaded(runner) for runner in self.memory.present()]})

    async def show(self, request: web.Request) -> web.Response:
        model = self.model(request[_BODY].get("model", ""))
        result = {"modelfile": "", "template": "", "details": _described(model)["details"]}
        info = {"general.architecture": "llama", "llama.context_length": model.ctx}
        return web.json_response(result | {"model_info": info, "capabilities": list(model.capabilities)})

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """A chat of one message to the engine. Without a prompt: a load or an unload."""
        received: dict[str, Any] = request[_BODY]
        if not received.get("prompt"):
            return web.json_response(generated(await self._without_messages(received), received))
        return await self._reply(request, generation(self.model(received.get("model", "")), received))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        received: dict[str, Any] = request[_BODY]
        if not received.get("messages"):
            return web.json_response(await self._without_messages(received))
        return await self._reply(request, received)

    async def _reply(self, request: web.Request, received: dict[str, Any]) -> web.StreamResponse:
        model = self.model(received.get("model", ""))
        check_capabilities(model, received)
        ctx = (received.get("options") or {}).get("num_ctx")
        async with self.memory.using(model, ctx, seconds_of(received.get("keep_alive"))) as runner:
            messages = [engine_message(message) for message in received["messages"]]
            kept = await self.engine.fitting(messages, runner.ctx, truncate=received.get("truncate") is not False)
            lines = with_fault(self.engine.chat(received, kept), model.fault)
            if request.path == "/api/generate":
                lines = in_generate(lines, received)
            if received.get("stream") is False:
                return web.json_response(await _gathered(lines))
            return await _streamed(request, lines)

    async def passed(self, request: web.Request) -> web.StreamResponse:
        """The compatible endpoints: load the model, then forward the engine's response."""
        model = self.model(request[_BODY].get("model", ""))
        async with (
            self.memory.using(model, None, None),
            self.engine.http.post(self.engine.url + request.path, json=request[_BODY]) as upstream,
        ):
            response = web.StreamResponse(status=upstream.status, headers={"content-type": upstream.content_type})
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    async def _without_messages(self, received: dict[str, Any]) -> dict[str, Any]:
        model = self.model(received.get("model", ""))
        keep_alive = seconds_of(received.get("keep_alive"))
        result = {"model": received["model"], "created_at": _now(), "message": {"role": "assistant", "content": ""}}
        if keep_alive == 0:
            self.memory.send_away(model.name)
            return result | {"done": True, "done_reason": "unload"}
        async with self.memory.using(model, (received.get("options") or {}).get("num_ctx"), keep_alive):
            return result | {"done": True, "done_reason": "load"}

    async def set_model(self, request: web.Request) -> web.Response:
        result = request[_BODY] | {"name": canonical(request[_BODY]["name"])}
        model = self.models.get(result["name"], FakeModel(result["name"]))
        for key, value in result.items():
            setattr(model, key, tuple(value) if isinstance(value, list) else value)
        self.models[model.name] = model
        return web.json_response({"models": list(self.models)})

    async def set_memory(self, request: web.Request) -> web.Response:
        for name in {item.name for item in fields(Memory)} & set(request[_BODY]):
            setattr(self.memory, name, request[_BODY][name])
        return web.json_response({})


@asynccontextmanager
async def ollama_fake(
    engine: str, models: Iterable[FakeModel] = (), *, port: int = 0, key: str = "", **memory: Any
) -> AsyncIterator[OllamaFake]:
    """A fake on loopback, in front of the engine at that url. `memory`: settings of `Memory`."""
    named = [replace(model, name=canonical(model.name)) for model in models]
    fake = OllamaFake({model.name: model for model in named}, Memory(**memory), key=key)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        fake.engine = Engine(engine.rstrip("/"), http)
        runner = web.AppRunner(fake.application(), handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield fake
        finally:
            await runner.cleanup()


async def _answered(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)  # type: ignore[no-any-return]
    except aiohttp.ClientConnectorError as error:  # the engine is away: Ollama's runner has died
        raise Refused(500, CRASH) from error
    except ConnectionResetError:  # the caller is gone
        return web.Response(status=499)


async def _running(_request: web.Request) -> web.Response:
    return web.Response(text="Ollama is running")


async def _version(_request: web.Request) -> web.Response:
    return web.json_response({"version": "0.30.0"})


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError as error:
        raise Refused(400, str(error)) from error


def _described(model: FakeModel) -> dict[str, Any]:
    details = {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "135M"}
    digest = sha256(model.name.encode()).hexdigest()
    result = {"name": model.name, "model": model.name, "size": model.size, "digest": digest, "modified_at": _now()}
    return result | {"details": details | {"quantization_level": "Q8_0"}}


def _loaded(runner: Runner) -> dict[str, Any]:
    result = _described(runner.model)
    del result["modified_at"]
    remaining = min(runner.expires_at - time.monotonic(), FOREVER)
    until = datetime.now(UTC) + timedelta(seconds=remaining)
    result |= {"size": runner.size, "size_vram": runner.size_vram, "context_length": runner.ctx}
    return result | {"expires_at": until.isoformat()}


async def _gathered(lines: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    text, thinking = "", ""
    async for line in lines:
        if "error" in line:
            raise Refused(500, line["error"])
        part = line.get("message", line)
        text += part.get("content", part.get("response", ""))
        thinking += part.get("thinking", "")
        whole = line
    thought = {"thinking": thinking} if thinking else {}
    if "message" not in whole:
        return whole | {"response": text, **thought}
    return whole | {"message": {**whole["message"], "content": text, **thought}}


async def _streamed(request: web.Request, lines: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
    """NDJSON. What fails before the first line has its own status; after it, it is a line `{"error": ...}` of a 200."""
    first = await anext(lines)
    if "error" in first:
        raise Refused(500, first["error"])
    response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
    await response.prepare(request)
    await response.write(json.dumps(first).encode() + b"\n")
    async for line in lines:
        await response.write(json.dumps(line).encode() + b"\n")
    await response.write_eof()
    return response


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", required=True, help="the url of a llama-server")
    parser.add_argument("--port", type=int, default=11434)
    parser.add_argument("--model", action="append", default=[], help="NAME or NAME=GIB; may be repeated")
    parser.add_argument("--vram", type=float, default=8.0, help="of the card, GiB")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    models = []
    for result in options.model or ["smollm2"]:
        name, _, size = result.partition("=")
        models.append(FakeModel(name, size=int(float(size) * GIB)) if size else FakeModel(name))
    async with ollama_fake(options.engine, models, port=options.port, vram=int(options.vram * GIB)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(_parser().parse_args()))
