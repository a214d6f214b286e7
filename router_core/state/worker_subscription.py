"""A worker's subscription: its identity, its queues, and the backends where their jobs may be called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

from pydantic_core import to_json

from openfall.router_core.catalog.budget_scope import CallPrice, budgets_of, call_price
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.rate_limits import Rate, rates_for
from openfall.router_core.deciding.call_signals import breaker_target, credential_target
from openfall.router_core.state.keys import model_of
from openfall.router_core.state.settlement import MAX_BREAKER_HISTORY

_TERMS = frozenset({"budgets", "price"})
_TermNumbers = Mapping[tuple[tuple[str, ...], CallPrice | None], int]
PROBE_BOUND = "256 0 0 1 0 0 - -"
"""What a health prompt uses at most, as `cost_bound` has it: its answer is as long as the model allows."""
PROBE_GRACE_SECONDS = 5.0
"""Seconds that a probe's lease lasts beyond its timeout."""


@dataclass(frozen=True, slots=True)
class BackendCapacity:
    """A backend where a queue's jobs may be called, its slots fleet-wide, and the names of its keys.

    `reserved` of the slots are for interactive jobs only. `rates` are the limits of each key. A job counts
    `answer_tokens` for its answer if it sets no limit of its own. `card`: the graphics card (empty: none)
    whose admitted jobs may be called there, at most `model_slots` of the model. `budgets` are the names of those that
    may count its calls, and `price` is what a call costs at most (None: unknown). The scripts read it as it is."""

    name: str
    slots: int
    keys: tuple[str, ...] = ()
    reserved: int = 0
    rates: tuple[Rate, ...] = ()
    answer_tokens: int = 0
    card: str = ""
    model_slots: int = 0
    budgets: tuple[str, ...] = ()
    price: CallPrice | None = None


@dataclass(frozen=True, slots=True)
class QueueSubscription:
    """A queue that a worker reads, and its backends. `probe_timeout_seconds` includes the loading of the model.
    `min_share` is the part of its pool's claims that its urgency gets at least."""

    queue: str
    backends: tuple[BackendCapacity, ...]
    probe_timeout_seconds: float = 30.0
    min_share: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """A worker: its name in rq, its pool, its queues, its backends. `local`: its pool never leaves its owner's
    machines. `catalog`: the digest of its catalog. `log`: where its log is, for people; empty: unknown."""

    name: str
    pool: str
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    local: bool = True
    catalog: str = ""
    log: str = ""


def backends_for(catalog: Catalog, alias: str, only: str | None = None) -> Iterator[BackendCapacity]:
    """The backends of a model: all of them, or `only` one."""
    for name in catalog.models[alias].backends:
        if only in (None, name):
            yield backend_capacity(catalog, name, alias)


def backend_capacity(catalog: Catalog, name: str, alias: str) -> BackendCapacity:
    """What a claim must know of a backend for calls of a model."""
    spec, rates = catalog.backends[name], rates_for(catalog.backends[name])
    model, budgets = catalog.models[alias], budgets_of(catalog, name, alias)
    return BackendCapacity(
        name,
        spec.slots,
        tuple(catalog.credentials(name)),
        spec.reserved_interactive,
        rates,
        model.max_tokens or 0 if rates else 0,
        "" if model.passed_on else catalog.card_of(name) or "",
        model.slots or spec.slots,
        budgets,
        call_price(catalog, alias) if budgets else None,
    )


def pack_subscription(
    identity: WorkerIdentity, queues: Sequence[QueueSubscription], claim_terms: Mapping[str, int]
) -> bytes:
    """What stays the same over the claims of workers of the same queues, as claim.lua reads it. `claim_terms` are the
    times and counts of every claim."""
    terms = list(dict.fromkeys((at.budgets, at.price) for queue in queues for at in queue.backends if at.budgets))
    numbers = {pair: number for number, pair in enumerate(terms, start=1)}
    return to_json({
        **claim_terms,
        "pool": identity.pool,
        "is_local": identity.local,
        "has_cards": any(backend.card for queue in queues for backend in queue.backends),
        "max_history": MAX_BREAKER_HISTORY,
        "queues": [
            {"name": queue.queue, "backends": [_seat(backend, numbers) for backend in queue.backends]}
            for queue in queues
        ],
        "terms": [{"budgets": budgets, "price": price} for budgets, price in terms],
        "shares": _shares(queues),
        "places": _probe_places(queues, numbers),
        "probe_bound": PROBE_BOUND,
    })  # fmt: skip


def _seat(backend: BackendCapacity, numbers: _TermNumbers) -> dict[str, Any]:
    """A backend, with the number of its budgets and price among `terms` (0: no budget): many backends share them, and
    a claim gets slower with the size of what it reads."""
    seat = {field.name: getattr(backend, field.name) for field in fields(backend) if field.name not in _TERMS}
    return {**seat, "terms": numbers.get((backend.budgets, backend.price), 0)}


def _probe_places(queues: Sequence[QueueSubscription], numbers: _TermNumbers) -> dict[str, list[dict[str, Any]]]:
    """Where each breaker can be probed: a model at a backend there, a key at each backend that has it."""
    places: dict[str, dict[str, dict[str, Any]]] = {}
    order = count()
    for queue in queues:
        model = model_of(queue.queue)
        lease_ms = int((queue.probe_timeout_seconds + PROBE_GRACE_SECONDS) * 1000)
        for backend in queue.backends if model else ():
            targets = {breaker_target(backend.name, model): backend.keys}
            targets |= {credential_target(key): (key,) for key in backend.keys}
            for target, keys in targets.items():
                place = {
                    "backend": _seat(backend, numbers),
                    "model": model,
                    "keys": keys,
                    "lease_ms": lease_ms,
                    "order": next(order),
                }
                places.setdefault(target, {}).setdefault(backend.name, place)
    return {target: list(by_backend.values()) for target, by_backend in places.items()}


def _shares(queues: Sequence[QueueSubscription]) -> list[dict[str, Any]]:
    """The urgencies that have a share (in thousandths), in drain order, with their first and last queue (from 1)."""
    shares: dict[str, dict[str, Any]] = {}
    for number, queue in enumerate(queues, start=1):
        urgency = queue.queue.rpartition(".")[2]
        if queue.min_share > 0:
            new = {"urgency": urgency, "share": round(queue.min_share * 1000), "first": number}
            shares.setdefault(urgency, new)["last"] = number
    return list(shares.values())
