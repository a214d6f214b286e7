"""A snapshot of the fleet in one round trip, for `route` and `decide`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.call_signals import breaker_target
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState, ModelState
from openfall.router_core.state import keys
from openfall.router_core.state.backend_reports import HEALTH_TTL_SECONDS, LOADED_TTL_SECONDS
from openfall.router_core.state.breakers import NEVER, read_error_class
from openfall.router_core.state.card_starts import read_starts
from openfall.router_core.state.decoding import read_moment, read_number, read_reports, read_text
from openfall.router_core.state.open_breaker_text import describe_open_breaker
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import policy_arguments
from openfall.router_core.state.snapshot_keys import (
    KeyState,
    LimitPair,
    all_keys_blocked,
    first_free,
    key_limits,
    seconds_per_call,
)
from openfall.router_core.state.snapshot_queues import QueueState, has_outage, is_stranded, read_queue
from openfall.router_core.state.worker_subscription import backends_for
from openfall.router_core.vocabulary import BlockReason, Urgency


@dataclass(frozen=True, slots=True)
class BackendState:
    """One model at one backend. `unreserved_free_slots` are the free slots that are not reserved for interactive jobs.
    `keys` are in the order of the file. `limited`: each key that may be used is at a limit, for interactive calls, and
    for others. `admitted`: the least urgent jobs that its card admits (-1: none; see `card_write.lua`).

    The other numbers are of the breaker's window: calls, failed and slow ones, and the time of all calls in ms.
    """

    name: str
    free_slots: int
    unreserved_free_slots: int
    blocked: Blocked | None
    calls: int
    failed: int
    slow: int
    total_ms: int
    keys: tuple[KeyState, ...] = ()
    limited: LimitPair = (None, None)
    admitted: int = 2

    @property
    def usable_keys(self) -> int:
        """How many of its keys are not blocked; 1 for a backend without a key."""
        return sum(key.blocked is None for key in self.keys) or 1

    @property
    def trouble(self) -> str:
        """What blocks the model here, or some of several keys, or lets it wait; empty: nothing."""
        if (blocked := self.blocked or self.limited[0] or self.limited[1]) is not None:
            return blocked.detail
        return "; ".join(f"key {number} {key.blocked.detail}" for number, key in enumerate(self.keys, 1) if key.blocked)

    @property
    def latency(self) -> float | None:
        """The mean time of its recent calls in seconds; None: there were none."""
        return self.total_ms / self.calls / 1000 if self.calls else None


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The fleet at `now`, on the server's clock.

    `unknown_queues` are served by a live worker, but the catalog does not know them: the worker's configuration is
    newer or older."""

    now: float
    local_only: bool
    unknown_queues: frozenset[str]
    fleet_states: Mapping[Urgency, FleetState]
    stranded_queues: tuple[str, ...]
    """Queues from which no worker can claim now. Queues of unknown models are left out: workers reload a changed
    configuration one after the other, and the jobs there are late soon enough."""
    blocked_queues: tuple[str, ...] = ()
    """Queues of other jobs whose model has an outage, while another model can take more jobs."""
    backends: Mapping[str, Sequence[BackendState]] = field(default_factory=dict)
    """The backends of each model, in the catalog's order."""
    loaded: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By backend the models (upstream names) in its memory, as far as it reported them lately."""
    health: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The last health check of each target that had one."""

    @property
    def sweep_digest(self) -> str:
        """Equal for two snapshots whose sweeps examine the same jobs."""
        queues = (self.stranded_queues, self.blocked_queues, sorted(self.unknown_queues))
        return sha256(repr(queues).encode()).hexdigest()[:16]

    def fleet_state(self, urgency: Urgency) -> FleetState:
        """The fleet as a job of that urgency sees it: each urgency of a model has its own queue."""
        return self.fleet_states[urgency]


def _models(catalog: Catalog) -> list[dict[str, Any]]:
    return [
        {
            "model": alias,
            "backends": list(backends_for(catalog, alias)),
            "queues": [catalog.queue(alias, urgency) for urgency in Urgency],
        }
        for alias in catalog.models
    ]


async def fetch_fleet_snapshot(link: RedisConnection, catalog: Catalog) -> FleetSnapshot:
    """Fetch the state of everything that the catalog names."""
    reply = await link.script("fleet_snapshot", {"models": _models(catalog)}, policy_arguments(catalog.breakers))
    now, local_only, reports, health, unknown, models, cards = reply
    at = read_moment(now)
    with link.notes.reading(keys.LOADED):
        loaded_reports = read_reports(reports)
    loaded = {
        name: report["models"]
        for name, report in loaded_reports.items()
        if at - report["at"] <= LOADED_TTL_SECONDS and _is_texts(report.get("models"))
    }
    with link.notes.reading(keys.HEALTH):
        checks = {name: check for name, check in read_reports(health).items() if "ok" in check}
    with link.notes.reading(keys.CARD + "*"):
        starts = read_starts(catalog, cards, at)
    view = _View(catalog, at, loaded, checks, bool(local_only) or catalog.local_only, starts)
    rows = [(read_text(row[0]), [read_queue(line, at) for line in row[1]], row[2]) for row in models]
    at_backends = {alias: tuple(view.backend_state(alias, row) for row in backends) for alias, _, backends in rows}
    fleets = view.fleet_states({alias: queues for alias, queues, _ in rows}, at_backends)
    others = frozenset(map(read_text, unknown))
    stranded = tuple(
        queue.name
        for alias, queues, _ in rows
        for urgency, queue in zip(Urgency, queues, strict=True)
        if queue.waiting and is_stranded(urgency, fleets[urgency].model(alias).blocked)
    )
    less_urgent = [(urgency, number) for number, urgency in enumerate(Urgency) if number]
    blocked = tuple(
        queues[number].name
        for urgency, number in less_urgent
        if any(state.can_take_more for state in fleets[urgency].models.values())
        for alias, queues, _ in rows
        if queues[number].waiting and has_outage(fleets[urgency].model(alias))
    )
    return FleetSnapshot(at, view.local_only, others, fleets, stranded, blocked, at_backends, loaded, view.health)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def earliest_block(backends: Sequence[BackendState]) -> Blocked | None:
    """The block that ends first, when all backends of a model are blocked; None: a backend is free."""
    blocks = [backend.blocked for backend in backends]
    return None if None in blocks else min(filter(None, blocks), key=lambda blocked: blocked.until, default=None)


@dataclass(frozen=True, slots=True)
class _View:
    """Interprets the reply of the script."""

    catalog: Catalog
    now: float
    loaded: Mapping[str, Sequence[str]]
    health: Mapping[str, Any]
    local_only: bool
    starts: Mapping[str, Sequence[float]]

    def fleet_states(
        self, queues: Mapping[str, list[QueueState]], at: Mapping[str, Sequence[BackendState]]
    ) -> dict[Urgency, FleetState]:
        return {
            urgency: FleetState(
                {alias: self._state(alias, urgency, at[alias], queues[alias]) for alias in queues},
                self.local_only,
            )
            for urgency in Urgency
        }

    def _state(self, alias: str, urgency: Urgency, at: Sequence[BackendState], queues: list[QueueState]) -> ModelState:
        number, others = list(Urgency).index(urgency), urgency is not Urgency.INTERACTIVE
        free = [backend for backend in at if backend.blocked is None]
        admitting = [backend for backend in free if number <= backend.admitted]
        limited = first_free(backend.limited[others] for backend in free)
        slots = (
            backend.unreserved_free_slots if others else backend.free_slots
            for backend in admitting
            if backend.limited[others] is None
        )
        answered = sum(backend.calls for backend in at)
        starts_in = self.starts[alias][number] if alias in self.starts else None
        return ModelState(
            blocked=self._model_block(alias, queues[number]) or earliest_block(at) or self._long(limited, urgency),
            limited=limited,
            seconds_per_call=seconds_per_call(
                ((self.catalog.backends[backend.name], backend.usable_keys) for backend in free), others=others
            ),
            free=max(0, sum(slots)),
            # Urgency declares the most urgent first: what is less urgent than the job does not stand before it.
            waiting=sum(queue.waiting for queue in queues[: number + 1]),
            oldest=max(queue.oldest for queue in queues[: number + 1]),
            loaded=self._is_loaded(alias) if starts_in is None else not starts_in,
            starts_in=starts_in,
            latency=sum(backend.total_ms for backend in at) / answered / 1000 if answered else None,
        )

    def _long(self, limited: Blocked | None, urgency: Urgency) -> Blocked | None:
        """A limit that lets a job wait for longer than its urgency may: it blocks the model."""
        start_within = self.catalog.urgency[urgency].start_within
        return limited if limited is not None and limited.until - self.now > start_within else None

    def _model_block(self, alias: str, queue: QueueState) -> Blocked | None:
        """What blocks every call of a model, at whichever backend."""
        if self.local_only and not self.catalog.is_local(alias):
            return Blocked(BlockReason.LOCAL_ONLY, FOREVER, "jobs must stay in the local pools now")
        if queue.paused:
            return Blocked(BlockReason.PAUSED, FOREVER, f"queue {queue.name} is paused")
        if not queue.served:
            return Blocked(BlockReason.NO_WORKER, FOREVER, "no live worker serves its queue")
        return None

    def backend_state(self, alias: str, row: list[Any]) -> BackendState:
        name, free, unreserved, block, calls, failed, slow, ms, admitted, key_rows = row
        name = read_text(name)
        keys = tuple(
            self._key_state(key_row, "" if len(key_rows) > 1 else f"the key of {name} ", self.catalog.backends[name])
            for key_row in key_rows
        )
        usable = [key for key in keys if key.blocked is None]
        limited = first_free(key.limited[0] for key in usable), first_free(key.limited[1] for key in usable)
        blocked = (
            self._by_breaker(block, "its breaker is", BlockReason.BREAKER)
            or all_keys_blocked(keys)
            or self._unhealthy(breaker_target(name, alias))
        )
        sums = [max(0, read_number(value)) for value in (calls, failed, slow, ms)]
        return BackendState(
            name, int(free), int(unreserved), blocked, sums[0], sums[1], sums[2], sums[3], keys, limited, admitted
        )

    def _key_state(self, row: list[Any], subject: str, spec: Backend) -> KeyState:
        credential, block, cool, cool_cause, *limits = row
        parked = self._by_breaker(block, f"{subject}is parked", BlockReason.CREDENTIAL)
        cooling = self._cooling(cool, read_text(cool_cause), "it " if subject else "")
        return KeyState(read_text(credential), parked or cooling, key_limits(limits, spec, self.now))

    def _by_breaker(self, row: list[bytes], text: str, reason: BlockReason) -> Blocked | None:
        """The block by an open breaker. `text`: the `subject` of `describe_open_breaker`."""
        block, why, error, cause = map(read_text, row)
        kind, _, rest = block.partition(" ")
        if kind not in ("open", "half_open"):
            return None
        until = read_number(rest.encode()) / 1000
        is_probed = kind == "half_open" or until <= self.now
        until = max(until, self.now + 1.0) if is_probed else until
        detail = describe_open_breaker(text, why, cause, is_probed=is_probed)
        return Blocked(reason, FOREVER if until > NEVER / 2 else until, detail, read_error_class(error), cause)

    def _cooling(self, cool: bytes, cause: str, subject: str) -> Blocked | None:
        until = read_moment(cool)
        if until <= self.now:
            return None
        return Blocked(BlockReason.COOLDOWN, until, f"{subject}cools down after {cause or 'a 429'}", cause=cause)

    def _unhealthy(self, name: str) -> Blocked | None:
        check = self.health.get(name)
        if check is None or check["ok"] or self.now - check["at"] > HEALTH_TTL_SECONDS:
            return None
        detail = f"its health check failed ({check.get('detail')})"
        until = check["at"] + HEALTH_TTL_SECONDS
        error, cause = read_error_class(str(check.get("error") or "")), str(check.get("cause") or "")
        return Blocked(BlockReason.UNHEALTHY, until, detail, error, cause)

    def _is_loaded(self, alias: str) -> bool | None:
        spec = self.catalog.models[alias]
        reports = [self.loaded[name] for name in spec.backends if name in self.loaded]
        return any(spec.upstream in models for models in reports) if reports else None
