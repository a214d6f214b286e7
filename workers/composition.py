"""Builds the parts of a worker: of one that calls the models of a pool, or of one that handles fallen jobs."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.state.worker_subscription import WorkerIdentity
from openfall.router_core.vocabulary import Urgency
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.registry import open_clients
from openfall.workers.execution.degrade_executor import DegradeExecutor
from openfall.workers.execution.executor import Executor, JobExecutor
from openfall.workers.execution.last_answer import fetch_last_answer
from openfall.workers.gpu.card_manager import STAND_BY_SECONDS
from openfall.workers.gpu.cards_of_pool import card_manager
from openfall.workers.maintenance.flat_plan_watch import FlatPlanWatch
from openfall.workers.maintenance.fleet_cache import FleetCache
from openfall.workers.maintenance.held_releaser import RELEASE_INTERVAL_SECONDS, HeldReleaser
from openfall.workers.maintenance.housekeeping import PeriodicTask
from openfall.workers.maintenance.incident_closer import CLOSE_INTERVAL_SECONDS, close_ended_incidents
from openfall.workers.maintenance.prober import Prober
from openfall.workers.maintenance.spend_watch import SpendWatch
from openfall.workers.outbox.dispatcher import OUTBOX_INTERVAL_SECONDS, OutboxDispatcher
from openfall.workers.outbox.outbox_settings import OutboxSettings


@dataclass(frozen=True, slots=True)
class Composition:
    """The executor and prober of a worker, its additional periodic tasks, and its backends that load models on
    demand."""

    executor: Executor
    prober: Prober
    tasks: Sequence[PeriodicTask] = ()
    loading_backends: Mapping[str, HttpBackend] = field(default_factory=dict)


def completion_worker(
    fleet_cache: FleetCache, identity: WorkerIdentity, stack: contextlib.AsyncExitStack
) -> Composition:
    """A worker that calls the models at its backends. `stack` closes what this opens."""
    link, catalog = fleet_cache.link, fleet_cache.catalog
    clients = open_clients(catalog, identity.backends)
    cards = card_manager(fleet_cache, identity, stack)
    for client in clients.values():
        stack.push_async_callback(client.close)
    return Composition(
        JobExecutor(catalog, clients, fleet_cache.fleet_state, random.random, fleet_cache.note_answer),
        Prober(link=link, catalog=catalog, clients=clients, jitter=random.random),
        tasks=() if cards is None else (PeriodicTask("cards", STAND_BY_SECONDS, cards.run, for_fleet=True),),
        loading_backends={name: client for (name, _), client in clients.items() if catalog.backends[name].loads_models},
    )


def degrade_worker(fleet_cache: FleetCache, settings: OutboxSettings, stack: contextlib.AsyncExitStack) -> Composition:
    """A worker that degrades or holds fallen jobs, releases them, closes incidents and delivers the outbox."""
    link, catalog = fleet_cache.link, fleet_cache.catalog
    dispatcher = OutboxDispatcher(link, settings, random.random)
    stack.push_async_callback(dispatcher.close)
    flat_plans = FlatPlanWatch(link, catalog, settings.notifiers)
    spend = SpendWatch(link, catalog, settings.notifiers)
    releaser, last_result = HeldReleaser(link, catalog), partial(fetch_last_answer, link)

    async def fleet_state(urgency: Urgency, since: float) -> FleetState:
        await fleet_cache.refresh_at_least(since)  # a snapshot from before the fall would show that every model is well
        return fleet_cache.fleet_state(urgency)

    async def release() -> None:
        await releaser.release(fleet_cache.snapshot)

    async def close_incidents() -> None:
        if fleet_cache.snapshot is not None:
            await flat_plans.watch(fleet_cache.snapshot)
            await spend.watch(fleet_cache.snapshot.now)
            await close_ended_incidents(link, fleet_cache.snapshot)

    return Composition(
        DegradeExecutor(catalog=catalog, fleet_state=fleet_state, last_result=last_result, notify=settings.notifiers),
        Prober(link=link, catalog=catalog, clients={}, jitter=random.random),
        tasks=(
            PeriodicTask("release", RELEASE_INTERVAL_SECONDS, release, for_fleet=True),
            PeriodicTask("outbox", OUTBOX_INTERVAL_SECONDS, dispatcher.dispatch, for_fleet=True),
            PeriodicTask("incidents", CLOSE_INTERVAL_SECONDS, close_incidents, for_fleet=True),
        ),
    )
