"""Servers of OpenAI's protocol that load models on order: the sidecar, llama-server's router mode, llama-swap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

from openfall.router_core.catalog.backend_entry import Loader
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.loaded_models import LoadedModel
from openfall.workers.backends.model_lists import MAX_NAME_LENGTH, MAX_NAMES, is_name, parse_gigabytes
from openfall.workers.backends.openai_client import OpenAIBackend
from openfall.workers.backends.other_model_names import NamesByModel, OtherNames
from openfall.workers.backends.parsing import malformed
from openfall.workers.backends.transport import Transport

POLL_SECONDS = 0.25
"""How often a router is asked for the state of a load: its order returns at once."""
LIST_SECONDS = 5.0

NO_LOAD = "?autoload=false"
"""A call that never makes the server load a model: on a card openfall decides which models are loaded."""

IN_MEMORY = ("loaded", "sleeping")
"""States of llama-server's router. A model that sleeps wakes at its next call."""
ALREADY = "model is already running"
NOT_RUNNING = "model is not running"
"""The words of llama-server for an order that is carried out already."""


class _OnOrder(OpenAIBackend):
    """What they share. `on_card`: openfall decides which models they hold."""

    call_query = NO_LOAD

    def __init__(self, url: str, key: str, transport: Transport, *, on_card: bool) -> None:
        super().__init__(url, key, transport, query=self.call_query if on_card else "")

    async def _rows(self, path: str, key: str, timeout_s: float) -> list[Mapping[str, Any]] | Failure:
        document = await self._http.fetch_json(path, timeout_s)
        if isinstance(document, Failure):
            return document
        rows = document.get(key) if isinstance(document, dict) else None
        if not isinstance(rows, list):
            return malformed(f"the reply of {path} has no {key}")
        return [row for row in rows[:MAX_NAMES] if isinstance(row, dict)]


class SidecarBackend(_OnOrder):
    """`openfall sidecar`. Its orders carry the epoch of the manager of the cards: it refuses an older one."""

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure:
        rows = await self._rows("/models/status", "models", timeout_s)
        if isinstance(rows, Failure):
            return rows
        return tuple(
            LoadedModel(
                upstream=str(row.get("name"))[:MAX_NAME_LENGTH],
                other_names=_aliases(row),
                vram_gb=parse_gigabytes(row.get("vram_gb")),
            )
            for row in rows
            if row.get("state") in ("ready", "in_use")
        )

    async def load(self, upstream: str, ctx: int | None, timeout_s: float, epoch: int = 0) -> Failure | None:
        return await self._http.order("/models/load", timeout_s, {"model": upstream, "epoch": epoch})

    async def unload(self, upstream: str, timeout_s: float, epoch: int = 0) -> Failure | None:
        return await self._http.order("/models/unload", timeout_s, {"model": upstream, "epoch": epoch})


class LlamaRouterBackend(_OnOrder):
    """A llama-server in router mode (tools/server/README.md, "Using multiple models"). Its orders return at once."""

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure:
        rows = await self._rows("/models", "data", timeout_s)
        if isinstance(rows, Failure):
            return rows
        return tuple(
            LoadedModel(upstream=str(row.get("id"))[:MAX_NAME_LENGTH], other_names=_aliases(row))
            for row in rows
            if _value(row) in IN_MEMORY
        )

    async def load(self, upstream: str, ctx: int | None, timeout_s: float, epoch: int = 0) -> Failure | None:
        deadline = time.monotonic() + timeout_s
        failure = await self._http.order("/models/load", timeout_s, {"model": upstream})
        if failure is not None and ALREADY not in failure.detail:
            return failure
        failure = await self._until(upstream, IN_MEMORY, deadline)
        if failure is not None and failure.error_class is ErrorClass.TIMEOUT:
            await self.unload(upstream, LIST_SECONDS)
        return failure

    async def unload(self, upstream: str, timeout_s: float, epoch: int = 0) -> Failure | None:
        deadline = time.monotonic() + timeout_s
        failure = await self._http.order("/models/unload", timeout_s, {"model": upstream})
        if failure is not None:
            return None if NOT_RUNNING in failure.detail else failure
        return await self._until(upstream, ("unloaded",), deadline)

    async def _until(self, upstream: str, wanted: Collection[str], deadline: float) -> Failure | None:
        while (remaining := deadline - time.monotonic()) > 0:
            rows = await self._rows("/models", "data", min(LIST_SECONDS, remaining))
            if isinstance(rows, Failure):
                return rows
            row = next((row for row in rows if upstream in (row.get("id"), *_aliases(row))), {})
            if _value(row) in wanted:
                return None
            status = row.get("status")
            if _value(row) == "unloaded" and isinstance(status, dict) and status.get("failed"):
                detail = f"its server ended with status {status.get('exit_code')} while it loaded: see its log"
                return Failure(error_class=ErrorClass.OTHER, detail=detail)
            await asyncio.sleep(min(POLL_SECONDS, remaining))
        return Failure(error_class=ErrorClass.TIMEOUT, detail="it has not changed the state of the model in time")


class LlamaSwapBackend(_OnOrder):
    """A llama-swap (internal/server/server.go). A request below `/upstream/MODEL` starts the model, and returns when it
    is ready. It has no `autoload`: a call for a model that is not loaded would load it."""

    call_query = ""

    def __init__(self, url: str, key: str, transport: Transport, *, on_card: bool) -> None:
        super().__init__(url, key, transport, on_card=on_card)
        self._other_names = OtherNames(self._fetch_names)

    async def list_loaded(self, timeout_s: float) -> tuple[LoadedModel, ...] | Failure:
        rows = await self._rows("/running", "running", timeout_s)
        if isinstance(rows, Failure):
            return rows
        ready = [str(row.get("model"))[:MAX_NAME_LENGTH] for row in rows if row.get("state") == "ready"]
        names = await self._other_names.of(ready, timeout_s)
        return tuple(LoadedModel(upstream=name, other_names=names.get(name, ())) for name in ready)

    async def _fetch_names(self, timeout_s: float) -> NamesByModel:
        """By its id the aliases of a model. One that is `unlisted` has none here."""
        rows = await self._rows("/v1/models", "data", timeout_s)
        return {} if isinstance(rows, Failure) else {str(row.get("id")): _aliases(_own_meta(row)) for row in rows}

    async def load(self, upstream: str, ctx: int | None, timeout_s: float, epoch: int = 0) -> Failure | None:
        failure = await self._http.order(f"/upstream/{quote(upstream)}/v1/models", timeout_s)
        if failure is not None and failure.error_class is ErrorClass.TIMEOUT:
            await self.unload(upstream, LIST_SECONDS)
        return failure

    async def unload(self, upstream: str, timeout_s: float, epoch: int = 0) -> Failure | None:
        return await self._http.order(f"/api/models/unload/{quote(upstream)}", timeout_s, {})


LOADERS: Mapping[Loader, type[_OnOrder]] = {
    Loader.SIDECAR: SidecarBackend,
    Loader.LLAMA_SERVER: LlamaRouterBackend,
    Loader.LLAMA_SWAP: LlamaSwapBackend,
}


def _value(row: Mapping[str, Any]) -> str:
    status = row.get("status")
    return str(status.get("value")) if isinstance(status, dict) else ""


def _own_meta(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a llama-swap says of a model beside what OpenAI's list has."""
    meta = row.get("meta")
    own = meta.get("llamaswap") if isinstance(meta, dict) else None
    return own if isinstance(own, dict) else {}


def _aliases(row: Mapping[str, Any]) -> tuple[str, ...]:
    aliases = row.get("aliases")
    return tuple(filter(is_name, aliases[:MAX_NAMES])) if isinstance(aliases, list) else ()
