"""Bring models into memory, take them out, see whether they are well: for an operator, at every backend of a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.router_core.catalog.entries import Billing, Catalog
from openfall.router_core.catalog.errors import UnknownName
from openfall.router_core.deciding.breaker import (
    breaker_target,
)
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.breakers import list_breakers, reset_breaker
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.fleet_flags import remember_health, remember_loaded, remembered_health
from openfall.router_core.state.fleet_snapshot import HEALTH_TTL_SECONDS
from openfall.router_core.state.model_status import note_loading
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    BreakerState,
)
from openfall.workers.backends import health
from openfall.workers.backends.base import CompletionBackend, same_model
from openfall.workers.backends.registry import open_backend

LOAD_WITHIN = 600.0
"""Seconds for a load of which nobody knows how long it takes: a large model from a slow disk."""
UNLOAD_WITHIN = 30.0

Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelAdmin:
    """Carries out an operator's word on one model. `link` None: without Redis nobody hears what was found."""

    catalog: Catalog
    link: RedisConnection | None
    backend: str | None = None
    """Only at this one."""

    async def carry_out(self, verb: str, alias: str, *, force: bool = False) -> AsyncIterator[Told]:
        """One line for each backend of the model, as each is done. Raises `UnknownName`."""
        spec = self.catalog.model(alias)
        if self.backend is not None and self.backend not in spec.backends:
            raise UnknownName(f"backend of {alias}", self.backend, spec.backends)
        names = [name for name in spec.backends if self.backend in (None, name)]
        tasks = [asyncio.create_task(self._at(verb, alias, name, force)) for name in names]
        for task in asyncio.as_completed(tasks):
            yield await task

    async def _at(self, verb: str, alias: str, name: str, force: bool) -> Told:
        backend = open_backend(self.catalog.backends[name])
        try:
            match verb:
                case "load":
                    told = await self._load(backend, alias, name)
                case "unload":
                    told = await self._unload(backend, alias, name)
                case _:
                    told = await self._check(backend, alias, name, force)
        finally:
            await backend.close()
        return {"verb": verb, "model": alias, "backend": name, **told}

    async def _load(self, backend: CompletionBackend, alias: str, name: str) -> Told:
        spec = self.catalog.models[alias]
        if await backend.list_loaded(health.ENDPOINT_TIMEOUT_S) is None:
            return {"ok": True, "message": "has its models ready by itself: there is nothing to load"}
        within = LOAD_WITHIN if spec.load_time is None else 4 * spec.load_time + UNLOAD_WITHIN
        if self.link is None:
            return _told(await backend.load(spec.upstream, spec.context, within), "is in memory")
        async with note_loading(self.link, name, alias) as mine:
            if not mine:
                return {"ok": True, "message": "is being loaded already"}
            failure = await backend.load(spec.upstream, spec.context, within)
        await self._remember_memory(backend, name)
        return _told(failure, "is in memory")

    async def _unload(self, backend: CompletionBackend, alias: str, name: str) -> Told:
        failure = await backend.unload(self.catalog.models[alias].upstream, UNLOAD_WITHIN)
        await self._remember_memory(backend, name)
        return _told(failure, "is no longer in memory")

    async def _check(self, backend: CompletionBackend, alias: str, name: str, force: bool) -> Told:
        """A check that is younger than `HEALTH_LASTS` stands for a new one, unless `force`."""
        now = await self._now()
        if not force and (kept := await self._remembered(breaker_target(name, alias), now)) is not None:
            return {**kept, "message": kept["detail"], "age": max(0.0, now - kept["at"])}
        metered = self.catalog.billing(name) is Billing.METERED
        found = await health.check(backend, self.catalog.models[alias], force=force, metered=metered)
        told = {"at": now, "ok": found.ok, "how": found.how, "latency": found.latency, "detail": found.detail}
        if self.link is not None:
            await remember_health(self.link, breaker_target(name, alias), told)
            if found.ok and found.how == "asked":
                await self._hasten_probe(self.link, breaker_target(name, alias))
        return {**told, "message": found.detail, "loaded": found.loaded}

    async def _hasten_probe(self, link: RedisConnection, name: str) -> None:
        """What has just answered is probed now, not at the end of a long open time; an operator's word stands."""
        for breaker in await list_breakers(link):
            if breaker.target == name and breaker.state is BreakerState.OPEN and breaker.forced is None:
                await reset_breaker(link, name, self.catalog.breakers)

    async def _remembered(self, name: str, now: float) -> Mapping[str, Any] | None:
        told = (await remembered_health(self.link)).get(name) if self.link is not None else None
        return told if told is not None and now - told["at"] <= HEALTH_TTL_SECONDS else None

    async def _remember_memory(self, backend: CompletionBackend, name: str) -> None:
        """Tell the fleet at once what is in the backend's memory now, as workers do every few seconds."""
        loaded = await backend.list_loaded(health.ENDPOINT_TIMEOUT_S)
        if self.link is None or loaded is None or isinstance(loaded, Failure):
            return
        here = {spec.upstream for spec in self.catalog.models.values() if name in spec.backends}
        found = [upstream for upstream in here if any(same_model(one.upstream, upstream) for one in loaded)]
        await remember_loaded(self.link, name, found, await self._now())

    async def _now(self) -> float:
        """The server's clock; 0 without one."""
        if self.link is None:
            return 0.0
        seconds, micros = await self.link.command("TIME")
        return int(seconds) + int(micros) / 1e6


def _told(failure: Failure | None, done: str) -> Told:
    if failure is None:
        return {"ok": True, "message": done}
    return {"ok": False, "message": failure.detail or str(failure.error_class), "error": failure.error_class}


async def opened(url: str | None) -> RedisConnection | None:
    """A link to Redis; None when there is none or it does not answer: models can be looked after without it."""
    if url is None:
        return None
    link = RedisConnection(url)
    try:
        await link.command("PING")
    except StoreError:
        await link.close()
        return None
    return link
