"""Who a worker is, which queues it drains and where their jobs may be called: what each of its claims says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.breaker import breaker_target, credential_target
from openfall.router_core.state.keys import model_of

PROBE_GRACE_SECONDS = 5.0
"""Seconds that a probe's lease lasts beyond its timeout."""

_FIRST, _WIDTH = 16, 3
"""The index of the first queue in the ARGV of a claim, and how many belong to each."""


class BackendCapacity(NamedTuple):
    """A backend that a queue's jobs may be called at, its slots fleet-wide, and the name of its key (empty: none).

    Of the slots `reserved` are for interactive jobs alone.
    """

    backend: str
    slots: int
    credential: str = ""
    reserved: int = 0

    def __str__(self) -> str:
        """As the scripts read it."""
        return f"{self.backend}={self.slots}={self.credential}={self.reserved}"


@dataclass(frozen=True, slots=True)
class QueueSubscription:
    """A queue that a worker drains, and where. `probe` is the longest that a health prompt may take there, in seconds:
    loading the model included. `share` is the part of its pool's claims that its urgency gets at least."""

    queue: str
    backends: tuple[BackendCapacity, ...]
    probe_timeout_seconds: float = 30.0
    min_share: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Who a worker is: its name in rq, its pool, the queues it drains, the backends it calls.

    `local`: its pool never leaves the machines of its owner.
    """

    name: str
    pool: str
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    local: bool = True


def backends_for(catalog: Catalog, alias: str, only: str | None = None) -> Iterator[BackendCapacity]:
    """The seats of a model: all of its backends, or `only` that one."""
    for name in catalog.models[alias].backends:
        if only in (None, name):
            backend = catalog.backends[name]
            yield BackendCapacity(name, backend.slots, catalog.credential(name), backend.reserved_interactive)


def reserved_slots(queues: Sequence[QueueSubscription]) -> int:
    """Slots that are kept for interactive jobs, of all backends together."""
    return sum({seat.backend: seat.reserved for drained in queues for seat in drained.backends}.values())


def queue_words(queues: Sequence[QueueSubscription]) -> list[str | int]:
    """The queues as claim.lua reads them: name, seats, lease of a probe (ms) of each."""
    return [
        part
        for drained in queues
        for part in (
            drained.queue,
            ",".join(map(str, drained.backends)),
            int((drained.probe_timeout_seconds + PROBE_GRACE_SECONDS) * 1000),
        )
    ]


def place_words(queues: Sequence[QueueSubscription]) -> str:
    """Where each breaker can be probed: a model at a backend there, a key at each backend that has it."""
    places: dict[tuple[str, str], int] = {}
    for at, drained in _placed(queues):
        model = model_of(drained.queue)
        for seat in drained.backends if model else ():
            places.setdefault((breaker_target(seat.backend, model), seat.backend), at)
            if seat.credential:
                places.setdefault((credential_target(seat.credential), seat.backend), at)
    return "".join(f";{name}={at}={backend}" for (name, backend), at in places.items())


def turn_words(queues: Sequence[QueueSubscription]) -> str:
    """The urgencies that have a share, in drain order: it in thousandths, and where their first and last queues are."""
    spans: dict[str, list[int]] = {}
    for at, drained in _placed(queues):
        if drained.min_share > 0:
            spans.setdefault(drained.queue.rpartition(".")[2], [round(drained.min_share * 1000)]).append(at)
    return "".join(f";{urgency}={share}={at[0]}={at[-1]}" for urgency, (share, *at) in spans.items())


def _placed(queues: Sequence[QueueSubscription]) -> Iterator[tuple[int, QueueSubscription]]:
    """Each with its index in the ARGV of a claim."""
    return ((_FIRST + n * _WIDTH, drained) for n, drained in enumerate(queues))
