"""Which model would answer now, and why: for people who ask, and for callers that make the call by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from openfall.producers.errors import NoModel
from openfall.producers.fleet_cache import fetch_fleet
from openfall.router_core.catalog.entries import Catalog, UnknownName
from openfall.router_core.deciding.fleet_state import (
    FOREVER,
    Blocked,
    BlockReason,
    FleetState,
    ModelState,
)
from openfall.router_core.jobs.job import ConsideredModel, Urgency
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.route import NothingFits, Route, route
from openfall.router_core.state.fleet_snapshot import BackendState, FleetSnapshot, earliest_block
from openfall.router_core.state.redis_connection import RedisConnection

_WITHOUT = "asked to do without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The model that would answer, where, and why it stands where it does. `seen` None: nothing is known of the fleet.

    `route.chain` are the models that are left, `route.considered` all that were looked at.
    """

    route: Route
    backend: str
    seen: FleetSnapshot | None

    @property
    def model(self) -> str:
        return self.route.chain[0]

    @property
    def reason(self) -> str:
        """Why this model: a few words."""
        return next(one.reason for one in self.route.considered if one.model == self.model)

    def seats(self, model: str) -> Sequence[BackendState]:
        """What is known of a model at each of its backends."""
        return self.seen.backends[model] if self.seen else ()


async def blocked_because(link: RedisConnection, catalog: Catalog, queue: str) -> str:
    """What keeps everybody from the jobs of a queue now, for people; empty: nothing does, or Redis does not tell."""
    _, alias, urgency = queue.split(".")
    if alias not in catalog.models:
        return f"{alias} is not in the configuration"
    if (seen := await fetch_fleet(link, catalog)) is None:
        return ""
    state = seen.fleet_state(Urgency(urgency)).model(alias)
    if state.blocked is None:
        return "" if state.free > 0 else "all of its slots are in use"
    left = state.blocked.until - seen.now
    return state.blocked.detail + (f", for {left:.0f} s more" if left < FOREVER else "")


def resolve(
    catalog: Catalog,
    asked: RouteRequest,
    seen: FleetSnapshot | None,
    *,
    without: Iterable[str] = (),
    directly: bool = False,
) -> Resolved:
    """The model that would answer. `without` names models, or backends, that are not to be used.

    `directly`: the caller makes the call itself, so that neither workers nor queues matter, and what is blocked is left
    out. Raises `UnknownName`, and `NoModel` with the reason of each model.
    """
    view = _View(catalog, seen, frozenset(without), directly)
    view.check()
    try:
        way = route(catalog, view.fleet, asked, seen.now if seen else 0.0)
    except NothingFits as error:
        raise NoModel(str(error)) from None
    fleet = view.fleet(way.urgency)
    out = {alias: words for alias in way.chain if (words := view.against(fleet.model(alias)))}
    left = tuple(alias for alias in way.chain if alias not in out)
    considered = _considered(way.considered, out)
    if not left:
        against = "; ".join(f"{one.model}: {one.reason.removeprefix('left out: ')}" for one in considered)
        raise NoModel(f"no model can be called now ({against})")
    queue = catalog.queue(left[0], way.urgency)
    way = replace(way, chain=left, queue=queue, considered=considered)
    return Resolved(route=way, backend=view.backend(left[0]), seen=seen)


@dataclass(frozen=True, slots=True)
class _View:
    """The fleet as far as whoever asks may use it."""

    catalog: Catalog
    seen: FleetSnapshot | None
    without: frozenset[str]
    directly: bool

    def check(self) -> None:
        known = {*self.catalog.models, *self.catalog.backends}
        for name in self.without - known:
            raise UnknownName("model or backend", name, known)

    def against(self, state: ModelState) -> str:
        """Why a model is not to be used whatever its place in the chain; empty when it may be."""
        blocked = state.blocked
        return blocked.detail if blocked and (self.directly or blocked.detail == _WITHOUT) else ""

    def backend(self, alias: str) -> str:
        """Where a claim would take a job for a model: of the backends that take calls the one with most free slots."""
        names = self._backends(alias)
        seats = {seat.name: seat for seat in self._seats(alias) if seat.blocked is None}
        return max(names, key=lambda name: seats[name].free_slots if name in seats else -1)

    def fleet(self, urgency: Urgency) -> FleetState:
        found = self.seen.fleet_state(urgency) if self.seen else FleetState()
        states = {alias: self._state(alias, found.model(alias)) for alias in self.catalog.models}
        return FleetState(states, found.local_only)

    def _state(self, alias: str, state: ModelState) -> ModelState:
        if alias in self.without or not self._backends(alias):
            return replace(state, blocked=Blocked(BlockReason.UNHEALTHY, FOREVER, _WITHOUT))
        if self.directly and not (state.blocked and state.blocked.obstacle is BlockReason.LOCAL_ONLY):
            return replace(state, blocked=earliest_block(self._seats(alias)))
        return state

    def _backends(self, alias: str) -> list[str]:
        return [name for name in self.catalog.models[alias].backends if name not in self.without]

    def _seats(self, alias: str) -> list[BackendState]:
        return [seat for seat in self.seen.backends[alias] if seat.name not in self.without] if self.seen else []


def _considered(candidates: Sequence[ConsideredModel], out: Mapping[str, str]) -> tuple[ConsideredModel, ...]:
    """Those in the running first, then those that are out, with what is against them."""
    left = [one for one in candidates if one.model not in out]
    more = [ConsideredModel(model=alias, reason=f"left out: {words}", chosen=False) for alias, words in out.items()]
    return (*[one for one in left if one.chosen], *more, *[one for one in left if not one.chosen])
