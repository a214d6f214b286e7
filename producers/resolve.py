"""Which model would answer now, and why: for `openfall resolve`, and for programs that call models themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from openfall.producers.card_wait_reason import explain_card_wait
from openfall.producers.client_store import fetch_fleet
from openfall.producers.errors import NoModel
from openfall.producers.outage_text import describe_away, fetch_away
from openfall.producers.shell_command import shell_command
from openfall.router_core.catalog.budget_scope import NO_OWNER, CallOwner
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import FOREVER, OUTAGE_BLOCKS, Blocked, FleetState, ModelState
from openfall.router_core.routing.route import NothingFits, Route, route
from openfall.router_core.routing.spent_budgets import block_spent
from openfall.router_core.state.fleet_snapshot import BackendState, FleetSnapshot, earliest_block
from openfall.router_core.state.fleet_status import FleetStatus
from openfall.router_core.state.keys import DEGRADE, model_of
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BlockReason, Urgency

_EXCLUDED = "excluded by the request"
ALL_SLOTS_BUSY = "all of its slots are in use"
"""Of a queue that workers take jobs from: its jobs wait their turn."""
_BEFORE_WORKERS = (BlockReason.LOCAL_ONLY, BlockReason.PAUSED, BlockReason.NO_WORKER)
"""What blocks a model whether or not a worker serves its queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The model that would answer, its backend, and the reasons. `snapshot` None: the fleet's state is unknown.

    `route.chain` lists the models that may answer, `route.considered` all that were considered.
    """

    route: Route
    backend: str
    snapshot: FleetSnapshot | None
    owner: CallOwner = NO_OWNER
    """For whom budgets count the call."""

    @property
    def model(self) -> str:
        return self.route.chain[0]

    @property
    def reason(self) -> str:
        """Why this model was chosen."""
        return next(considered.reason for considered in self.route.considered if considered.model == self.model)

    def backends(self, model: str) -> Sequence[BackendState]:
        """The state of a model at each of its backends."""
        return self.snapshot.backends[model] if self.snapshot else ()


async def explain_queue_block(
    connection: RedisConnection, catalog: Catalog, queue: str, *, remedies: bool = False
) -> str:
    """Why no worker may take the jobs of a queue now. Empty: nothing blocks them, or Redis does not answer.

    `remedies`: with the command that ends a pause, starts a worker ...
    """
    if queue == DEGRADE:
        return "no model could serve it, and no degrade worker has claimed it yet: openfall work degrade"
    pool, alias, urgency = queue.split(".")
    if removed := _explain_removed(catalog, pool, alias):
        return removed
    if (snapshot := await fetch_fleet(connection, catalog)) is None:
        return ""
    state = snapshot.fleet_state(Urgency(urgency)).model(alias)
    if limit := reached_limit(state):
        return limit
    if state.blocked is None:
        text = await explain_card_wait(connection, catalog, alias, Urgency(urgency), snapshot.now)
        return text or ("" if state.free > 0 else ALL_SLOTS_BUSY)
    away = [item for item in await fetch_away(connection, catalog) if item.concerns(alias, catalog)]
    outage = describe_away(away, snapshot.now)
    if outage and state.blocked.reason in (*OUTAGE_BLOCKS, BlockReason.COOLDOWN):
        return outage
    seconds = state.blocked.until - snapshot.now
    text = state.blocked.detail + (f", for {seconds:.0f} s more" if seconds < FOREVER else "")
    if remedies:
        has_workers = _has_workers(snapshot, catalog, pool, Urgency(urgency))
        text += _remedy(state.blocked.reason, queue, pool, has_workers=has_workers)
    return f"{text}; {outage}" if outage else text


def _explain_removed(catalog: Catalog, pool: str, alias: str) -> str:
    """Why no worker of this configuration reads the queue of a model. Empty: it is configured."""
    if alias not in catalog.models:
        return f"{alias} is not in the configuration; once it is late, the job goes to another model of its chain"
    if (own := catalog.pool_of(alias)) != pool:
        return f"the configuration has {alias} in the pool {own}; once it is late, the job moves there"
    return ""


def _has_workers(snapshot: FleetSnapshot, catalog: Catalog, pool: str, urgency: Urgency) -> bool:
    """Whether workers of a pool live: they serve queues of other models, or of models outside the catalog."""
    if any(queue.startswith(f"{pool}.") for queue in snapshot.unknown_queues):
        return True
    fleet = snapshot.fleet_state(urgency)
    blocks = [fleet.model(alias).blocked for alias in catalog.models if catalog.pool_of(alias) == pool]
    return any(block is None or block.reason not in _BEFORE_WORKERS for block in blocks)


def _remedy(reason: BlockReason, queue: str, pool: str, *, has_workers: bool) -> str:
    """The command that ends a block, to stand behind its reason. Empty: none does."""
    if reason is BlockReason.NO_WORKER and has_workers:
        return (
            f": the live ones of the pool {pool} have another configuration than this command, or `--backend` "
            "(see `openfall status` and `openfall workers`)"
        )
    remedies = {
        BlockReason.PAUSED: f" (`{shell_command('openfall queues resume', queue)}`)",
        BlockReason.NO_WORKER: f" (start one: `openfall up`, or `{shell_command('openfall work', pool)}`)",
        BlockReason.LOCAL_ONLY: " (`openfall local-only off` ends that)",
    }
    return remedies.get(reason, "")


def reached_limit(state: ModelState) -> str:
    """The limit of its provider that keeps jobs from a model, and when it is free; empty: none does."""
    blocked = state.blocked or state.limited
    return blocked.detail if blocked is not None and blocked.reason is BlockReason.LIMIT else ""


async def fetch_reached_limits(connection: RedisConnection, catalog: Catalog, status: FleetStatus) -> dict[str, str]:
    """By model with waiting jobs: the limit of its provider that keeps them."""
    if not status.waiting or (snapshot := await fetch_fleet(connection, catalog)) is None:
        return {}
    states = {
        model_of(queue.name): snapshot.fleet_state(queue.urgency).model(model_of(queue.name))
        for queue in status.queues
        if queue.waiting and queue.urgency is not None
    }
    return {model: limit for model, state in states.items() if (limit := reached_limit(state))}


def resolve(
    catalog: Catalog,
    request: RouteRequest,
    snapshot: FleetSnapshot | None,
    *,
    exclude: Iterable[str] = (),
    direct: bool = False,
) -> Resolution:
    """The model that would answer. `exclude` names models or backends that must not be used.

    `direct`: the caller makes the call itself, so that workers and queues do not matter, and blocked models are left
    out. Raises `UnknownName`, and `NoModel` with the reason for each model.
    """
    view = _FleetFilter.without(exclude, catalog, snapshot, direct)
    try:
        routed = route(catalog, view.fleet, request, snapshot.now if snapshot else 0.0)
    except NothingFits as error:
        raise NoModel(str(error)) from None
    owner = CallOwner(group=routed.group, role=routed.role, task=routed.task, producer=request.producer)
    fleet = block_spent(catalog, view.fleet(routed.urgency), routed.chain, owner)
    left_out = {alias: reason for alias in routed.chain if (reason := view.reason_against(fleet.model(alias)))}
    chain = tuple(alias for alias in routed.chain if alias not in left_out)
    considered = _considered(routed.considered, left_out)
    if not chain:
        reasons = "; ".join(f"{model.model}: {model.reason.removeprefix('left out: ')}" for model in considered)
        raise NoModel(f"no model can be called now: {reasons}")
    queue = catalog.queue(chain[0], routed.urgency)
    routed = replace(routed, chain=chain, queue=queue, considered=considered)
    return Resolution(route=routed, backend=view.backend(chain[0]), snapshot=snapshot, owner=owner)


@dataclass(frozen=True, slots=True)
class _FleetFilter:
    """The part of the fleet that the caller may use."""

    catalog: Catalog
    snapshot: FleetSnapshot | None
    exclude: frozenset[str]
    direct: bool

    @classmethod
    def without(
        cls, exclude: Iterable[str], catalog: Catalog, snapshot: FleetSnapshot | None, direct: bool
    ) -> _FleetFilter:
        """The fleet without the models and backends of these names."""
        names = (
            name
            if name in catalog.backends
            else catalog.find_model(name, kind="model or backend", known=catalog.backends)
            for name in exclude
        )
        return cls(catalog, snapshot, frozenset(names), direct)

    def reason_against(self, state: ModelState) -> str:
        """Why a model must not be used, whatever its place in the chain. Empty: it may be."""
        blocked = state.blocked
        return blocked.detail if blocked and (self.direct or blocked.detail == _EXCLUDED) else ""

    def backend(self, alias: str) -> str:
        """Where a claim would place the job: the unblocked backend with the most free slots."""
        free = {state.name: state.free_slots for state in self._states(alias) if state.blocked is None}
        return max(self._backends(alias), key=lambda name: free.get(name, -1))

    def fleet(self, urgency: Urgency) -> FleetState:
        fleet = self.snapshot.fleet_state(urgency) if self.snapshot else FleetState()
        models = {alias: self._model(alias, fleet.model(alias)) for alias in self.catalog.models}
        return replace(fleet, models=models)

    def _model(self, alias: str, state: ModelState) -> ModelState:
        if alias in self.exclude or not self._backends(alias):
            return replace(state, blocked=Blocked(BlockReason.UNHEALTHY, FOREVER, _EXCLUDED))
        if self.direct and not (state.blocked and state.blocked.reason is BlockReason.LOCAL_ONLY):
            return replace(state, blocked=earliest_block(self._states(alias)))
        return state

    def _backends(self, alias: str) -> list[str]:
        return [name for name in self.catalog.models[alias].backends if name not in self.exclude]

    def _states(self, alias: str) -> list[BackendState]:
        return (
            [state for state in self.snapshot.backends[alias] if state.name not in self.exclude]
            if self.snapshot
            else []
        )


def _considered(models: Sequence[ConsideredModel], left_out: Mapping[str, str]) -> tuple[ConsideredModel, ...]:
    """The chosen models first, then those in `left_out` with their reasons, then the rest."""
    others = [model for model in models if model.model not in left_out]
    excluded = [
        ConsideredModel(model=alias, reason=f"left out: {reason}", chosen=False) for alias, reason in left_out.items()
    ]
    return (*[model for model in others if model.chosen], *excluded, *[model for model in others if not model.chosen])
