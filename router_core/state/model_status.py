"""Every model as an operator asks after it: what state it is in at each backend, what waits, what it did today."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.breaker import breaker_target
from openfall.router_core.routing.fleet_state import (
    Blocked,
)
from openfall.router_core.state import keys
from openfall.router_core.state.fleet_flags import loaded_models, remembered_health
from openfall.router_core.state.fleet_snapshot import (
    HEALTH_TTL_SECONDS,
    LOADED_TTL_SECONDS,
    BackendState,
    FleetSnapshot,
    fetch_fleet_snapshot,
)
from openfall.router_core.state.ledger import LedgerEntry, read_ledger
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    BlockReason,
    Urgency,
)

LOADING_TTL_SECONDS = 900.0
"""Seconds after which a load of which no end was heard is taken to be over: its loader has died."""


class LoadState(StrEnum):
    """How a model is at one backend."""

    NOT_LOADED = "not_loaded"
    LOADING = "loading"
    READY = "ready"
    IN_USE = "in_use"
    ERROR = "error"  # its breaker is open, its key is parked, or its health check failed
    UNKNOWN = "unknown"  # nothing was heard of it of late


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAtBackend:
    """One model at one backend. `why` says what is wrong, when something is; `health` is the last check's, as kept.

    `calls`, `failed`, `seconds`, `usd` and `unpriced` are of today (UTC), `latency` is of the last minutes.
    """

    model: str
    backend: str
    load_state: LoadState
    why: str
    free_slots: int
    latency: float | None
    health: Mapping[str, Any] | None
    calls: int
    failed: int
    seconds: float
    usd: float
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model: how many of its jobs wait by urgency, how many are being answered, and how it is where it is."""

    model: str
    waiting: Mapping[Urgency, int]
    started: int
    blocked: Blocked | None
    backends: tuple[ModelAtBackend, ...]


async def fetch_model_status(link: RedisConnection, catalog: Catalog) -> list[ModelStatus]:
    """Every model of the catalog, in its order."""
    seen, health, memory, queues, marks = await asyncio.gather(
        fetch_fleet_snapshot(link, catalog),
        remembered_health(link),
        loaded_models(link),
        _queues(link, catalog),
        _loading(link, catalog),
    )
    entries = await read_ledger(link, [ledger_day(seen.now)])
    signs = _Signs(catalog, seen, health, memory, marks, entries)
    return [signs.modelled(alias, queues[alias]) for alias in catalog.models]


def ledger_day(now: float) -> str:
    """The day of the ledger at a moment."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"


@asynccontextmanager
async def note_loading(link: RedisConnection, backend: str, model: str) -> AsyncIterator[bool]:
    """Show a model as loading meanwhile. Yields False when somebody else is loading it already."""
    key = f"{keys.LOCK}loading:{breaker_target(backend, model)}"
    mine = await link.command("SET", key, 1, "NX", "PX", int(LOADING_TTL_SECONDS * 1000)) is not None
    try:
        yield mine
    finally:
        if mine:
            await link.command("DEL", key)


async def _loading(link: RedisConnection, catalog: Catalog) -> frozenset[str]:
    targets = [breaker_target(backend, alias) for alias, spec in catalog.models.items() for backend in spec.backends]
    if not targets:
        return frozenset()
    told = await link.command("MGET", *(f"{keys.LOCK}loading:{name}" for name in targets))
    return frozenset(name for name, mark in zip(targets, told, strict=True) if mark is not None)


async def _queues(link: RedisConnection, catalog: Catalog) -> dict[str, list[tuple[int, int]]]:
    """Of each model, by urgency: how many jobs wait, and how many are being answered."""

    async def look(queue: str) -> tuple[int, int]:
        waiting, started = await asyncio.gather(
            link.command("LLEN", keys.RQ_QUEUE + queue), link.command("ZCARD", keys.RQ_WIP + queue)
        )
        return int(waiting), int(started)

    names = [(alias, catalog.queue(alias, urgency)) for alias in catalog.models for urgency in Urgency]
    found = iter(await asyncio.gather(*(look(queue) for _, queue in names)))
    return {alias: [next(found) for _ in Urgency] for alias in catalog.models}


@dataclass(frozen=True, slots=True)
class _Signs:
    """Everything that tells of models, put together."""

    catalog: Catalog
    seen: FleetSnapshot
    health: Mapping[str, Mapping[str, Any]]
    memory: Mapping[str, Mapping[str, Any]]
    loading: frozenset[str]
    entries: list[LedgerEntry]

    def modelled(self, alias: str, queues: list[tuple[int, int]]) -> ModelStatus:
        started = sum(number for _, number in queues)
        state = self.seen.fleet_state(Urgency.BACKGROUND).model(alias)
        return ModelStatus(
            model=alias,
            waiting={urgency: waiting for urgency, (waiting, _) in zip(Urgency, queues, strict=True)},
            started=started,
            blocked=state.blocked,
            backends=tuple(self._placed(alias, seat, started) for seat in self.seen.backends[alias]),
        )

    def _placed(self, alias: str, seat: BackendState, started: int) -> ModelAtBackend:
        name = breaker_target(seat.name, alias)
        stage = LoadState.LOADING if name in self.loading else self._stage(alias, seat, started)
        rows = [one for one in self.entries if (one.model, one.backend) == (alias, seat.name)]
        return ModelAtBackend(
            model=alias,
            backend=seat.name,
            load_state=stage,
            why=seat.blocked.detail if seat.blocked else "",
            free_slots=seat.free_slots,
            latency=seat.latency,
            health=self.health.get(name),
            calls=sum(row.calls for row in rows),
            failed=sum(row.failed for row in rows),
            seconds=sum(row.seconds for row in rows),
            usd=sum(row.usd for row in rows),
            unpriced=sum(row.unpriced for row in rows),
        )

    def _stage(self, alias: str, seat: BackendState, started: int) -> LoadState:
        if seat.blocked is not None and seat.blocked.reason is not BlockReason.COOLDOWN:
            return LoadState.ERROR
        if started:
            return LoadState.IN_USE
        known = self._in_memory(alias, seat.name)
        if known is not None:
            return LoadState.READY if known else LoadState.NOT_LOADED
        return LoadState.READY if seat.calls > seat.failed or self._is_well(alias, seat.name) else LoadState.UNKNOWN

    def _in_memory(self, alias: str, backend: str) -> bool | None:
        told = self.memory.get(backend)
        if told is None or self.seen.now - told["at"] > LOADED_TTL_SECONDS:
            return None
        return self.catalog.models[alias].upstream in told["models"]

    def _is_well(self, alias: str, backend: str) -> bool:
        told = self.health.get(breaker_target(backend, alias))
        return told is not None and bool(told["ok"]) and self.seen.now - told["at"] <= HEALTH_TTL_SECONDS
