"""The status of every model: its state at each backend, its waiting jobs, its calls today."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.call_signals import breaker_target
from openfall.router_core.routing.fleet_state import Blocked
from openfall.router_core.state.backend_reports import (
    HEALTH_TTL_SECONDS,
    remembered_load_errors,
    remembered_other_models,
)
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.card_status import StateOnCard, fetch_managed_cards, state_on_card
from openfall.router_core.state.fleet_snapshot import BackendState, FleetSnapshot, fetch_fleet_snapshot
from openfall.router_core.state.ledger import LedgerEntry, ledger_day, read_ledger
from openfall.router_core.state.loading_marks import fetch_loading
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.waiting_jobs import count_jobs
from openfall.router_core.vocabulary import BlockReason, LoadState, Urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAtBackend:
    """One model at one backend. `why`: what is wrong, or why it moves. `state_seconds`: for how long a model on
    a card has had its state; None: unknown, or it is on no card. `keys`: for each key of the backend, in the order of
    the file, what blocks it (empty: nothing). `health`: the last health check.

    `calls`, `failed`, `seconds`, `usd` and `unpriced` are of today (UTC); `latency`, `recent_calls` and `slow_calls`
    (longer than its `slow_after`) are of the last minutes.
    """

    model: str
    backend: str
    load_state: LoadState
    state_seconds: float | None
    why: str
    keys: tuple[str, ...]
    free_slots: int
    latency: float | None
    recent_calls: int
    slow_calls: int
    health: Mapping[str, Any] | None
    calls: int
    failed: int
    seconds: float
    usd: float
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model: its waiting jobs by urgency, its started jobs, and its state at each backend."""

    model: str
    waiting: Mapping[Urgency, int]
    started: int
    blocked: Blocked | None
    backends: tuple[ModelAtBackend, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherModel:
    """A model that a backend has and the catalog does not name."""

    upstream: str
    backend: str
    load_state: LoadState


async def fetch_other_models(link: RedisConnection, catalog: Catalog) -> list[OtherModel]:
    """The models that the backends of the catalog have beside those that it names, by the last reports."""
    reports = await remembered_other_models(link)
    return [
        OtherModel(upstream=upstream, backend=name, load_state=LoadState.READY if in_memory else LoadState.NOT_LOADED)
        for name in catalog.backends
        for upstream, in_memory in reports.get(name, {"models": {}})["models"].items()
    ]


async def fetch_model_status(link: RedisConnection, catalog: Catalog) -> list[ModelStatus]:
    """Every model of the catalog, in its order."""
    snapshot, queues, loading, load_errors, cards = await asyncio.gather(
        fetch_fleet_snapshot(link, catalog),
        _queues(link, catalog),
        fetch_loading(link, catalog),
        remembered_load_errors(link),
        fetch_managed_cards(link, catalog),
    )
    entries = await read_ledger(link, [ledger_day(snapshot.now)])
    facts = _Facts(catalog, snapshot, loading, load_errors, cards, entries)
    return [facts.model(alias, queues[alias]) for alias in catalog.models]


async def _queues(link: RedisConnection, catalog: Catalog) -> dict[str, list[tuple[int, int]]]:
    """Of each model, by urgency: how many jobs wait, and how many are started."""
    queues = [catalog.queue(alias, urgency) for alias in catalog.models for urgency in Urgency]
    counts = iter(await count_jobs(link, queues))
    return {alias: [next(counts) for _ in Urgency] for alias in catalog.models}


@dataclass(frozen=True, slots=True)
class _Facts:
    """Everything that is known of the models."""

    catalog: Catalog
    snapshot: FleetSnapshot
    loading: frozenset[str]
    load_errors: Mapping[str, Mapping[str, Any]]
    cards: Mapping[str, CardState]
    """Those that a worker manages."""
    entries: list[LedgerEntry]

    def model(self, alias: str, queues: list[tuple[int, int]]) -> ModelStatus:
        started = sum(number for _, number in queues)
        state = self.snapshot.fleet_state(Urgency.BACKGROUND).model(alias)
        return ModelStatus(
            model=alias,
            waiting={urgency: waiting for urgency, (waiting, _) in zip(Urgency, queues, strict=True)},
            started=started,
            blocked=state.blocked,
            backends=tuple(self._at_backend(alias, backend, started) for backend in self.snapshot.backends[alias]),
        )

    def _at_backend(self, alias: str, backend: BackendState, started: int) -> ModelAtBackend:
        name = breaker_target(backend.name, alias)
        state = self._state(alias, backend, started)
        rows = [entry for entry in self.entries if (entry.model, entry.backend) == (alias, backend.name)]
        return ModelAtBackend(
            model=alias,
            backend=backend.name,
            load_state=state.load_state,
            state_seconds=None if state.since is None else max(0.0, self.snapshot.now - state.since),
            why=state.why,
            keys=tuple(key.trouble for key in backend.keys if key.credential),
            free_slots=backend.free_slots,
            latency=backend.latency,
            recent_calls=backend.calls,
            slow_calls=backend.slow,
            health=self.snapshot.health.get(name),
            calls=sum(row.calls for row in rows),
            failed=sum(row.failed for row in rows),
            seconds=sum(row.seconds for row in rows),
            usd=sum(row.usd for row in rows),
            unpriced=sum(row.unpriced for row in rows),
        )

    def _state(self, alias: str, backend: BackendState, started: int) -> StateOnCard:
        trouble = backend.trouble or self._load_error(alias, backend)
        if breaker_target(backend.name, alias) in self.loading:
            return StateOnCard(LoadState.LOADING, None, trouble)
        card = self.cards.get(self.catalog.card_of(backend.name) or "")
        if card is None or self.catalog.models[alias].passed_on:
            return StateOnCard(self._load_state(alias, backend, started), None, trouble)
        state = state_on_card(card, alias, self.snapshot.now, in_use=started > 0)
        if _is_blocked(backend) and state.load_state not in (LoadState.LOADING, LoadState.CLOSING):
            return StateOnCard(LoadState.ERROR, state.since if state.load_state is LoadState.ERROR else None, trouble)
        return replace(state, why=state.why or backend.trouble)

    def _may_be_in_memory(self, alias: str) -> bool:
        """Whether a backend of a model has it in memory, or does not say."""
        spec = self.catalog.models[alias]
        return any(spec.upstream in self.snapshot.loaded.get(name, (spec.upstream,)) for name in spec.backends)

    def _load_error(self, alias: str, backend: BackendState) -> str:
        """Why the last load failed; empty: it did not, or the model is in memory."""
        error = self.load_errors.get(breaker_target(backend.name, alias))
        in_memory = self.catalog.models[alias].upstream in self.snapshot.loaded.get(backend.name, ())
        return "" if error is None or in_memory else f"its last load failed: {error.get('detail')}"

    def _load_state(self, alias: str, backend: BackendState, started: int) -> LoadState:
        if _is_blocked(backend):
            return LoadState.ERROR
        if started:
            return LoadState.IN_USE if self._may_be_in_memory(alias) else LoadState.LOADING
        if self._load_error(alias, backend):
            return LoadState.ERROR
        loaded = self.snapshot.loaded.get(backend.name)
        if loaded is not None:
            return LoadState.READY if self.catalog.models[alias].upstream in loaded else LoadState.NOT_LOADED
        check = self.snapshot.health.get(breaker_target(backend.name, alias))
        is_well = check is not None and check["ok"] and self.snapshot.now - check["at"] <= HEALTH_TTL_SECONDS
        if is_well or backend.calls > backend.failed:
            return LoadState.READY
        return self._state_without_report(alias, backend)

    def _state_without_report(self, alias: str, backend: BackendState) -> LoadState:
        """An embedded engine has its model in memory as long as it runs; it runs with the workers of its pool."""
        if not self.catalog.backends[backend.name].embedded:
            return LoadState.UNKNOWN
        blocked = self.snapshot.fleet_state(Urgency.BACKGROUND).model(alias).blocked
        is_served = blocked is None or blocked.reason is not BlockReason.NO_WORKER
        return LoadState.READY if is_served else LoadState.NOT_LOADED


def _is_blocked(backend: BackendState) -> bool:
    return backend.blocked is not None and backend.blocked.reason is not BlockReason.COOLDOWN
