"""The fleet at one moment, in one round trip: what `route` and `decide` choose by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.deciding.breaker import breaker_target
from openfall.router_core.routing.fleet_state import (
    FOREVER,
    Blocked,
    FleetState,
    ModelState,
)
from openfall.router_core.state.breakers import NEVER
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import WINDOW_SLOTS, slot_ms
from openfall.router_core.state.subscription import backends_for
from openfall.router_core.vocabulary import (
    BlockReason,
    Urgency,
)

HEALTH_TTL_SECONDS = 30.0
"""Seconds for which a health check is believed."""
LOADED_TTL_SECONDS = 30.0
"""Seconds for which what a backend said of its memory is believed."""
MIN_RETRIES = 5
"""Repeated calls of a pool that its budget always allows: a share of nothing would be nothing."""


@dataclass(frozen=True, slots=True)
class BackendState:
    """One model at one backend. `free` are the backend's slots that nobody uses, `spare` those of them that are not
    kept for interactive jobs; the rest is of late: the calls, how many of them failed and how many were repetitions,
    and the time of all of them in ms."""

    name: str
    free_slots: int
    unreserved_free_slots: int
    blocked: Blocked | None
    calls: int
    failed: int
    retries: int
    total_ms: int

    @property
    def latency(self) -> float | None:
        """The mean time of its calls of late, in seconds; None: there were none."""
        return self.total_ms / self.calls / 1000 if self.calls else None


@dataclass(frozen=True, slots=True)
class _Queue:
    name: str
    waiting: int
    oldest: float
    paused: bool
    served: bool


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """What was found. `now` is the server's clock; `elsewhere` are queues that this catalog does not know and a live
    worker serves: its configuration is newer, or older."""

    now: float
    local_only: bool
    unknown_queues: frozenset[str]
    fleet_states: Mapping[Urgency, FleetState]
    stranded_queues: tuple[str, ...]
    """Queues of interactive jobs from which nobody can claim now. Not those of models that the catalog does not know:
    a fleet takes a changed configuration one worker after the other, and their jobs are late soon enough."""
    backends: Mapping[str, Sequence[BackendState]] = field(default_factory=dict)
    """Of each model its backends, in the catalog's order."""

    def fleet_state(self, urgency: Urgency) -> FleetState:
        """The fleet as a job of that urgency finds it: a queue is paused for one urgency at a time."""
        return self.fleet_states[urgency]


def _asked(catalog: Catalog) -> list[dict[str, Any]]:
    return [
        {
            "model": alias,
            "backends": [backend.as_argument() for backend in backends_for(catalog, alias)],
            "queues": [catalog.queue(alias, urgency) for urgency in Urgency],
        }
        for alias in catalog.models
    ]


async def fetch_fleet_snapshot(link: RedisConnection, catalog: Catalog) -> FleetSnapshot:
    """Look at everything that the catalog names."""
    arguments = {"window_slots": WINDOW_SLOTS, "slot_ms": slot_ms(catalog.breakers), "models": _asked(catalog)}
    reply = await link.script("fleet_snapshot", arguments)
    now, switch, loaded, health, elsewhere, models = reply
    at = int(now) / 1000
    found = _Findings(catalog, at, _said(loaded), _said(health), bool(switch) or catalog.local_only)
    rows = [(row[0].decode(), [_queue(line, at) for line in row[1]], row[2]) for row in models]
    at_backends = {alias: tuple(found.seat(alias, row) for row in backends) for alias, _, backends in rows}
    fleets = found.fleets({alias: queues for alias, queues, _ in rows}, at_backends)
    others = frozenset(name.decode() for name in elsewhere)
    stranded = tuple(
        queue.name
        for alias, queues, _ in rows
        for queue in queues[:1]  # Urgency declares the interactive one first
        if queue.waiting and _is_stranded(fleets[Urgency.INTERACTIVE].model(alias))
    )
    return FleetSnapshot(at, found.local_only, others, fleets, stranded, at_backends)


def earliest_block(seats: Sequence[BackendState]) -> Blocked | None:
    """What blocks a model all of whose backends are blocked: that of the first to be free; None: one of them is."""
    blocks = [seat.blocked for seat in seats]
    return None if None in blocks else min(filter(None, blocks), key=lambda blocked: blocked.until, default=None)


def _is_stranded(state: ModelState) -> bool:
    """A pool whose only worker restarts is given the time that its jobs have: they are late soon enough."""
    return state.blocked is not None and state.blocked.reason is not BlockReason.NO_WORKER


def _said(told: Sequence[bytes]) -> dict[str, Any]:
    return {told[i].decode(): from_json(told[i + 1]) for i in range(0, len(told), 2)}


def _queue(row: list[Any], now: float) -> _Queue:
    oldest = now - int(row[2]) / 1000 if row[2] else 0.0
    return _Queue(row[0].decode(), int(row[1]), max(0.0, oldest), bool(row[3]), bool(row[4]))


@dataclass(frozen=True, slots=True)
class _Findings:
    """Turns what was found into what it means."""

    catalog: Catalog
    now: float
    loaded: Mapping[str, Any]
    health: Mapping[str, Any]
    local_only: bool

    def fleets(
        self, queues: Mapping[str, list[_Queue]], at: Mapping[str, Sequence[BackendState]]
    ) -> dict[Urgency, FleetState]:
        spent = self._spent_pools(at)
        return {
            urgency: FleetState(
                {alias: self._state(alias, number, at[alias], queues[alias], spent) for alias in queues},
                self.local_only,
            )
            for number, urgency in enumerate(Urgency)
        }

    def _spent_pools(self, at: Mapping[str, Sequence[BackendState]]) -> frozenset[str]:
        """The pools that have used up their budget of repeated calls."""
        calls: dict[str, list[int]] = {}
        for alias, found in at.items():
            sums = calls.setdefault(self.catalog.pool_of(alias), [0, 0])
            sums[0] += sum(seat.calls for seat in found)
            sums[1] += sum(seat.retries for seat in found)
        budget = self.catalog.retry.retry_budget
        return frozenset(pool for pool, (n, again) in calls.items() if again >= max(MIN_RETRIES, n * budget))

    def _state(
        self, alias: str, number: int, at: Sequence[BackendState], queues: list[_Queue], spent: frozenset[str]
    ) -> ModelState:
        open_ = [seat for seat in at if seat.blocked is None]
        answered = sum(seat.calls for seat in at)
        return ModelState(
            blocked=self._whole(alias, queues[number]) or earliest_block(at),
            free=max(0, sum(seat.unreserved_free_slots if number else seat.free_slots for seat in open_)),
            # Urgency declares the most urgent first: what is less urgent than the job does not stand before it.
            waiting=sum(queue.waiting for queue in queues[: number + 1]),
            oldest=max(queue.oldest for queue in queues[: number + 1]),
            loaded=self._is_loaded(alias),
            latency=sum(seat.total_ms for seat in at) / answered / 1000 if answered else None,
            may_retry=self.catalog.pool_of(alias) not in spent,
        )

    def _whole(self, alias: str, queue: _Queue) -> Blocked | None:
        """What keeps every call of a model away, whatever its backends."""
        if self.local_only and not self.catalog.is_local(alias):
            return Blocked(BlockReason.LOCAL_ONLY, FOREVER, "nothing may leave the local pools now")
        if queue.paused:
            return Blocked(BlockReason.PAUSED, FOREVER, f"queue {queue.name} is paused")
        if not queue.served:
            return Blocked(BlockReason.NO_WORKER, FOREVER, f"no worker of pool {self.catalog.pool_of(alias)} is there")
        return None

    def seat(self, alias: str, row: list[Any]) -> BackendState:
        name, free, spare, block, cool, key, why, calls, failed, repeated, ms = row
        place = name.decode()
        blocked = (
            self._by_breaker(block.decode(), f"its breaker is STATE ({why.decode()})", BlockReason.BREAKER)
            or self._by_breaker(key.decode(), f"the key of {place} is parked ({why.decode()})", BlockReason.CREDENTIAL)
            or self._cooling(cool.decode())
            or self._unwell(breaker_target(place, alias))
        )
        return BackendState(place, int(free), int(spare), blocked, int(calls), int(failed), int(repeated), int(ms))

    def _by_breaker(self, block: str, words: str, obstacle: BlockReason) -> Blocked | None:
        kind, _, rest = block.partition(" ")
        if kind not in ("open", "half_open"):
            return None
        until = int(rest) / 1000
        if kind == "half_open" or until <= self.now:  # a probe is on its way: soon, if it is answered
            return Blocked(obstacle, max(until, self.now + 1.0), words.replace("STATE", "half open", 1))
        return Blocked(obstacle, _unless_for_ever(until), words.replace("STATE", "open", 1))

    def _cooling(self, cool: str) -> Blocked | None:
        until = int(cool) / 1000 if cool else 0.0
        return Blocked(BlockReason.COOLDOWN, until, "it cools down after a 429") if until > self.now else None

    def _unwell(self, name: str) -> Blocked | None:
        told = self.health.get(name)
        if told is None or told["ok"] or self.now - told["at"] > HEALTH_TTL_SECONDS:
            return None
        return Blocked(
            BlockReason.UNHEALTHY, told["at"] + HEALTH_TTL_SECONDS, f"its health check failed ({told['detail']})"
        )

    def _is_loaded(self, alias: str) -> bool | None:
        spec = self.catalog.models[alias]
        told = [self.loaded[name] for name in spec.backends if name in self.loaded]
        fresh = [found for found in told if self.now - found["at"] <= LOADED_TTL_SECONDS]
        if not fresh:
            return None
        return any(spec.upstream in found["models"] for found in fresh)


def _unless_for_ever(until: float) -> float:
    return FOREVER if until > NEVER / 2 else until
