"""The HTTP API of the sidecar."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from aiohttp import web

from openfall.workers.sidecar.caller_check import check_caller
from openfall.workers.sidecar.proxy import Upstream
from openfall.workers.sidecar.resident import Resident, ResidentState
from openfall.workers.sidecar.sidecar_errors import SidecarError
from openfall.workers.sidecar.switcher import Switcher

MAX_BODY_BYTES = 64 * 2**20
EVENT_SECONDS = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class SidecarApi:
    """The endpoints."""

    switcher: Switcher
    upstream: Upstream

    def application(self) -> web.Application:
        """The application that serves them."""
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._refusals])
        application.add_routes([
            web.get("/health", self._health),
            web.get("/models/available", self._available),
            web.get("/models/status", self._status),
            web.post("/models/switch", self._switch),
            web.post("/models/load", self._load),
            web.post("/models/unload", self._unload),
            web.get("/models", self._models),
            web.get("/v1/models", self._models),
            web.route("*", "/{path:.*}", self._pass_on),
        ])  # fmt: skip
        return application

    @web.middleware
    async def _refusals(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path != "/health":
                check_caller(request, self.switcher.manifest.sections)
            return await handler(request)
        except SidecarError as error:
            return web.json_response(error.body(), status=error.status, headers=error.headers)
        except web.HTTPRequestEntityTooLarge:
            refusal = SidecarError("request_too_large", f"the body has more than {MAX_BODY_BYTES} bytes")
            return web.json_response(refusal.body(), status=refusal.status)

    async def _health(self, _request: web.Request) -> web.Response:
        active = _active(self.switcher)
        name = None if active is None else active.name
        return web.json_response({"status": "ok", "active": name, "version": version("openfall")})

    async def _available(self, _request: web.Request) -> web.Response:
        return web.json_response({"models": [self._profile(name) for name in self.switcher.manifest.profiles]})

    async def _models(self, _request: web.Request) -> web.Response:
        """The profiles as OpenAI lists models, each with its state as llama-server's router has it."""
        data = [
            {"id": name, "object": "model", "owned_by": "openfall", "status": {"value": self._router_state(name)}}
            for name in self.switcher.manifest.profiles
        ]
        return web.json_response({"object": "list", "data": data})

    async def _status(self, _request: web.Request) -> web.Response:
        switcher, now = self.switcher, time.monotonic()
        active, switch, waiting = _active(switcher), switcher.switch, switcher.waiting_since
        return web.json_response({
            "active": None if active is None else active.name,
            "state": self._state(active),
            "switching_to": None if switch is None else switch.profile,
            "elapsed_s": None if switch is None else round(now - switch.since, 1),
            "queue": {
                "waiting": len(waiting),
                "most": switcher.manifest.sections.max_waiting,
                "oldest_s": round(now - min(waiting), 1) if waiting else None,
            },
            "restarts": sum(resident.restarts for resident in switcher.residents.values()),
            "backend": None if active is None else f"http://127.0.0.1:{active.port}",
            "vram_gb": switcher.manifest.sections.vram_gb,
            "models": [self._profile(name) for name in switcher.manifest.profiles],
        })  # fmt: skip

    async def _switch(self, request: web.Request) -> web.StreamResponse:
        """Make a profile ready, and answer then. With `Accept: text/event-stream`: in events."""
        name, _ = await self._order(request)
        began = time.monotonic()
        if "text/event-stream" in request.headers.get("accept", ""):
            return await self._switch_in_events(request, name, began)
        await self.switcher.switch_to(name)
        return web.json_response({"active": name, "took_s": round(time.monotonic() - began, 3)})

    async def _switch_in_events(self, request: web.Request, name: str, began: float) -> web.StreamResponse:
        active, resident = _active(self.switcher), self.switcher.residents.get(name)
        is_ready = resident is not None and resident.is_ready
        switching = asyncio.create_task(self.switcher.switch_to(name), name=f"switch to {name}")
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
        await response.prepare(request)
        shown = {"model": name, "from": None if active is None else active.name}
        while not switching.done() and not is_ready:
            elapsed = round(time.monotonic() - began, 1)
            await response.write(_event("model_switching", shown | {"elapsed_s": elapsed}))
            await asyncio.wait({switching}, timeout=EVENT_SECONDS)
        try:
            await switching
            took = round(time.monotonic() - began, 3)
            await response.write(_event("ready", {"active": name, "took_s": took}))
        except SidecarError as error:
            await response.write(_event("failed", error.body()))
        return response

    async def _load(self, request: web.Request) -> web.Response:
        name, epoch = await self._order(request)
        began = time.monotonic()
        await self.switcher.load(name, epoch)
        return web.json_response({"success": True, "took_s": round(time.monotonic() - began, 3)})

    async def _unload(self, request: web.Request) -> web.Response:
        name, epoch = await self._order(request)
        await self.switcher.unload(name, epoch)
        return web.json_response({"success": True})

    async def _order(self, request: web.Request) -> tuple[str, int]:
        """The profile of an order, and the epoch of the manager that gives it (0: none)."""
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise SidecarError("bad_request", 'the body must be a JSON object: {"model": NAME}')
        named = next((body[key] for key in ("model", "profile", "name") if body.get(key)), None)
        if not isinstance(named, str):
            raise SidecarError("bad_request", "`model` must be text: the name of a profile")
        epoch = body.get("epoch", 0)
        if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
            raise SidecarError("bad_request", "`epoch` must be a whole number")
        return self._find(named), epoch

    def _find(self, named: str) -> str:
        name = self.switcher.manifest.find(named)
        if name is None:
            raise SidecarError("model_not_found", f"unknown profile {named!r}. {self.switcher.manifest.remedy(named)}")
        return name

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to the server of its profile, which is started if need be (`?autoload=false`: not)."""
        body = await request.read()
        named = _named_model(request, body)
        if named is None:
            active = _active(self.switcher)
            if active is None:
                raise SidecarError("not_loaded", "no profile is loaded, and the request names none as `model`")
            named = active.name
        may_load = request.query.get("autoload", "true") not in ("false", "0")
        resident = await self.switcher.reserve(self._find(named), may_load=may_load)
        try:
            return await self.upstream.pass_on(request, body, resident.name, resident.port)
        finally:
            resident.release()

    def _profile(self, name: str) -> dict[str, Any]:
        profile, resident = self.switcher.manifest.profiles[name], self.switcher.residents.get(name)
        failure = self.switcher.failures.get(name)
        shown: dict[str, Any] = {
            "name": name, "display_name": profile.display_name or name, "aliases": list(profile.aliases),
            "vram_gb": profile.vram_gb, "state": self._profile_state(name),
            "error": None if failure is None else failure.message,
        }  # fmt: skip
        if resident is not None:
            seconds = round(time.monotonic() - resident.since, 1)
            shown |= {"state_s": seconds, "calls": resident.calls, "restarts": resident.restarts}
            shown["pid"] = None if resident.state is ResidentState.ERROR else resident.pid
        return shown

    def _profile_state(self, name: str) -> str:
        resident = self.switcher.residents.get(name)
        if resident is None:
            return "error" if name in self.switcher.failures else "not_loaded"
        if resident.closing:
            return "closing"
        return "in_use" if resident.is_ready and resident.calls else str(resident.state)

    def _router_state(self, name: str) -> str:
        resident = self.switcher.residents.get(name)
        if resident is None or resident.closing or resident.state is ResidentState.ERROR:
            return "unloaded"
        return "loaded" if resident.state is ResidentState.READY else "loading"

    def _state(self, active: Resident | None) -> str:
        if self.switcher.switch is not None:
            return "loading" if active is None else "switching"
        if active is not None:
            return "ready"
        return "error" if self.switcher.failures else "idle"


def _event(name: str, value: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


def _active(switcher: Switcher) -> Resident | None:
    """The profile that was used last, of those that are ready."""
    ready = [resident for resident in switcher.residents.values() if resident.is_ready]
    return max(ready, key=lambda resident: (resident.calls > 0, resident.used_at), default=None)


def _named_model(request: web.Request, body: bytes) -> str | None:
    """The model that a request names, in its JSON or in its query. Like a llama-server it reads JSON of any content
    type: curl says that what it sends is a form."""
    named = request.query.get("model")
    if named is None and body and not request.content_type.startswith("multipart/"):
        try:
            parsed = json.loads(body)
        except ValueError:
            if request.content_type == "application/json":
                raise SidecarError("bad_request", "the body is not JSON") from None
            return None
        named = parsed.get("model") if isinstance(parsed, dict) else None
    return named if isinstance(named, str) and named else None
