"""Loads, unloads and checks a model at each of its backends, for an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.catalog.model_names import same_model
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.deciding.call_signals import breaker_target
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.backend_reports import (
    HEALTH_TTL_SECONDS,
    forget_health,
    forget_load_errors,
    remember_health,
    remember_load_error,
    remember_loaded,
    remember_other_models,
    remembered_health,
)
from openfall.router_core.state.breakers import list_breakers, reset_breaker
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import fetch_managed_cards
from openfall.router_core.state.cards import fetch_cards, give_order, is_managed, pending_order
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.loading_marks import note_loading
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.vocabulary import BreakerState, ErrorClass
from openfall.workers.backends import health_check
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.loaded_models import LoadedModel
from openfall.workers.backends.registry import open_backend

LOAD_TIMEOUT_SECONDS = 600.0
"""For a model without a `load_time`: a large one from a slow disk."""
UNLOAD_TIMEOUT_SECONDS = 30.0

CARD_ORDERS = {
    "load": "is in memory",
    "unload": "leaves when its calls have ended",
    "pin": "never leaves its card",
    "unpin": "may leave its card",
}
"""What the manager of a card does for an operator, and what holds then."""
ORDER_POLL_SECONDS = 0.1

MAX_OTHER_MODELS = 100
"""Models of a backend that are recorded although the catalog does not name them."""

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelAdmin:
    """The commands of `openfall models`. `link` None: the fleet does not learn the results. `backend` limits a command
    to one backend."""

    catalog: Catalog
    link: RedisConnection | None
    backend: str | None = None

    async def run(self, verb: str, alias: str, *, force: bool = False) -> AsyncIterator[Report]:
        """Yield one report per backend of the model, as each completes. Raises `UnknownName`."""
        alias = self.catalog.find_model(alias)
        spec = self.catalog.models[alias]
        if self.backend is not None and self.backend not in spec.backends:
            raise UnknownName(f"backend of {alias}", self.backend, spec.backends)
        names = [name for name in spec.backends if self.backend in (None, name)]
        tasks = [asyncio.create_task(self._run_at(verb, alias, name, force)) for name in names]
        for task in asyncio.as_completed(tasks):
            yield await task

    async def _run_at(self, verb: str, alias: str, name: str, force: bool) -> Report:
        return {"verb": verb, "model": alias, "backend": name, **await self._report_at(verb, alias, name, force)}

    async def _report_at(self, verb: str, alias: str, name: str, force: bool) -> Report:
        card = "" if self.catalog.models[alias].passed_on else self.catalog.card_of(name)
        if card and self.link is not None and verb in CARD_ORDERS:
            managed = await is_managed(self.link, self.catalog.backends[name].pool)
            if managed or verb in ("pin", "unpin"):
                return await self._order(self.link, card, verb, alias, managed)
        if verb in ("pin", "unpin"):
            message = "openfall decides about no card there: write vram_gb of the backend, and connect to Redis"
            return {"ok": False, "message": message}
        backend = open_backend(self.catalog.backends[name])
        try:
            match verb:
                case "load":
                    return await self._load(backend, alias, name)
                case "unload":
                    return await self._unload(backend, alias, name)
                case _:
                    return await self._check(backend, alias, name, force)
        finally:
            await backend.close()

    async def _load(self, backend: HttpBackend, alias: str, name: str) -> Report:
        spec = self.catalog.models[alias]
        if await backend.list_loaded(health_check.ENDPOINT_TIMEOUT_S) is None:
            return {"ok": True, "message": "keeps its models ready: there is nothing to load"}
        timeout = self._load_timeout(alias)
        if self.link is None:
            return _report(await backend.load(spec.upstream, spec.context, timeout), "is in memory")
        async with note_loading(self.link, name, alias) as is_first:
            if not is_first:
                return {"ok": True, "message": "is already being loaded"}
            failure = await backend.load(spec.upstream, spec.context, timeout)
            if failure is not None:
                detail = failure.detail or str(failure.error_class)
                await remember_load_error(self.link, breaker_target(name, alias), detail, await self._now())
            else:
                await self._hasten_probe(self.link, breaker_target(name, alias))
            await self._record_loaded(backend, name)
        return _report(failure, "is in memory")

    async def _order(self, link: RedisConnection, card: str, verb: str, alias: str, managed: bool) -> Report:
        """Order the manager of a card, and wait until it has carried it out. Without a manager the order stays."""
        await give_order(link, card, verb, alias)
        if not managed:
            return {"ok": True, "message": f"{CARD_ORDERS[verb]} once a worker of its pool runs"}
        try:
            async with asyncio.timeout(self._load_timeout(alias)):
                while await pending_order(link, card, verb, alias):  # noqa: ASYNC110 - another process carries it out
                    await asyncio.sleep(ORDER_POLL_SECONDS)
        except TimeoutError:
            managed_cards = await fetch_managed_cards(link, self.catalog)
            return {"ok": False, "message": describe_pending(card, managed_cards.get(card))}
        state = (await fetch_cards(link, [card]))[card]
        if verb == "load" and alias not in state.models and alias in state.refused:
            return {"ok": False, "message": state.refused[alias].why}
        notice = pin_notice(self.catalog, card, state) if verb == "pin" else ""
        return {"ok": True, "message": CARD_ORDERS[verb] + notice}

    def _load_timeout(self, alias: str) -> float:
        load_time = self.catalog.models[alias].load_time
        return LOAD_TIMEOUT_SECONDS if load_time is None else 4 * load_time + UNLOAD_TIMEOUT_SECONDS

    async def _unload(self, backend: HttpBackend, alias: str, name: str) -> Report:
        failure = await backend.unload(self.catalog.models[alias].upstream, UNLOAD_TIMEOUT_SECONDS)
        await self._record_loaded(backend, name)
        return _report(failure, "is no longer in memory")

    async def _check(self, backend: HttpBackend, alias: str, name: str, force: bool) -> Report:
        """Check the model, or return the last check if it is younger than `HEALTH_TTL_SECONDS`; `force` checks
        again."""
        now = await self._now()
        if not force and (last := await self._last_check(breaker_target(name, alias), now)) is not None:
            return {**last, "message": last["detail"], "age": max(0.0, now - last["at"])}
        metered = self.catalog.is_metered(name)
        result = await health_check.check(backend, self.catalog.models[alias], force=force, metered=metered)
        report = {"at": now, "ok": result.ok, "how": result.method, "latency": result.latency, "detail": result.detail}
        if result.failure is not None:
            report |= {"error": result.failure.error_class, "cause": result.failure.cause}
        if self.link is not None:
            await remember_health(self.link, breaker_target(name, alias), report)
            if result.ok and result.method == "prompted":
                await self._hasten_probe(self.link, breaker_target(name, alias))
        return {**report, "message": result.detail, "loaded": result.loaded}

    async def _hasten_probe(self, link: RedisConnection, name: str) -> None:
        """Probe a model that has just answered or was loaded now, not at the end of a long open time. A manual override
        stays."""
        for breaker in await list_breakers(link):
            if breaker.target == name and breaker.state is BreakerState.OPEN and breaker.forced is None:
                await reset_breaker(link, name, self.catalog.breakers)

    async def _last_check(self, name: str, now: float) -> Mapping[str, Any] | None:
        report = (await remembered_health(self.link)).get(name) if self.link is not None else None
        return report if report is not None and now - report["at"] <= HEALTH_TTL_SECONDS else None

    async def _record_loaded(self, backend: HttpBackend, name: str) -> None:
        if self.link is not None:
            await record_models(self.link, self.catalog, name, backend, await self._now())

    async def _now(self) -> float:
        """The server's time; 0 without Redis."""
        return 0.0 if self.link is None else await fetch_server_time(self.link)


def pin_notice(catalog: Catalog, card: str, state: CardState) -> str:
    """Which models of a card fit no more beside the pinned ones, by the sizes of the configuration. May be empty."""
    names = [name for name in catalog.backends if catalog.card_of(name) == card]
    backend = catalog.backends[names[0]]
    sizes = {
        alias: spec.vram_gb or 0.0
        for alias, spec in catalog.models.items()
        if not spec.passed_on and set(spec.backends) & set(names)
    }
    pinned = {alias for alias in sizes if state.pinned.get(alias, catalog.models[alias].pinned)}
    held, total = sum(sizes[alias] for alias in pinned), backend.vram_gb or 0.0
    if held > total:
        return f"; the pinned models need {held:g} GB, and card {card} has {total:g}: the last one waits for ever"
    unfit = [alias for alias in sizes if alias not in pinned and backend.beside * sizes[alias] + held > total]
    return f"; beside {', '.join(sorted(pinned))} these never fit: {', '.join(unfit)}" if unfit else ""


def describe_pending(card: str, state: CardState | None) -> str:
    """Why an order is not carried out yet. It stays. `state`: of the card; None: no worker manages it."""
    if state is None:
        return f"ordered; no worker manages card {card}: it is carried out once one does"
    content = ", ".join(state.models) or "no model"
    reason = f" ({state.reason})" if state.reason else ""
    return f"ordered, and it still waits: card {card} has {content} in memory{reason}"


def _report(failure: Failure | None, done: str) -> Report:
    if failure is None:
        return {"ok": True, "message": done}
    return {"ok": False, "message": failure.detail or str(failure.error_class), "error": failure.error_class}


async def record_models(link: RedisConnection, catalog: Catalog, name: str, backend: HttpBackend, now: float) -> None:
    """Record in Redis which models a backend has: those of the catalog that are in memory, and those that the catalog
    does not name. A backend that refuses the connection is no choice for a job. `now` is the server's time.
    """
    loaded, names = await asyncio.gather(
        backend.list_loaded(health_check.ENDPOINT_TIMEOUT_S), backend.list_models(health_check.ENDPOINT_TIMEOUT_S)
    )
    models = {alias: spec for alias, spec in catalog.models.items() if name in spec.backends}
    await _record_alive(link, [breaker_target(name, alias) for alias in models], loaded, now)
    if loaded is None or isinstance(loaded, Failure):
        return
    ready = {
        alias: spec.upstream for alias, spec in models.items() if spec.passed_on or _is_among(spec.upstream, loaded)
    }
    await remember_loaded(link, name, sorted(set(ready.values())), now)
    await forget_load_errors(link, [breaker_target(name, alias) for alias in ready])
    if not isinstance(names, Failure):
        configured = [spec.upstream for spec in models.values()]
        short = {other.removesuffix(":latest") for other in names}
        others = [other for other in sorted(short) if not any(same_model(other, upstream) for upstream in configured)]
        in_memory = {other: _is_among(other, loaded) for other in others[:MAX_OTHER_MODELS]}
        await remember_other_models(link, name, in_memory, now)


def _is_among(upstream: str, loaded: tuple[LoadedModel, ...]) -> bool:
    return any(model.is_called(upstream) for model in loaded)


async def _record_alive(link: RedisConnection, targets: list[str], loaded: object, now: float) -> None:
    """Record that an endpoint refuses connections, as a failed health check of its models; else forget that."""
    last = await remembered_health(link)
    for target in targets:
        failed_alive = target in last and not last[target]["ok"] and last[target]["how"] == "alive"
        if not isinstance(loaded, Failure):
            if failed_alive:
                await forget_health(link, target)
        elif loaded.error_class is ErrorClass.CONNECTION:
            await remember_health(link, target, health_check.failed_report(loaded, "alive", now))


async def try_connect(server: RedisServer | None) -> RedisConnection | None:
    """Connect to Redis; None if there is none, or it does not answer: the commands work without it."""
    if server is None:
        return None
    link = RedisConnection(server)
    try:
        await link.command("PING")
    except StoreError:
        await link.close()
        return None
    return link
