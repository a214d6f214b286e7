"""Builds the manager of a pool's graphics cards."""

from __future__ import annotations

import contextlib

from openfall.router_core.catalog.backend_entry import Loader
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.backend_reports import remember_health, remember_load_error
from openfall.router_core.state.cards import CardStore
from openfall.router_core.state.wake_up import WakeUp
from openfall.router_core.state.worker_subscription import WorkerIdentity
from openfall.router_core.vocabulary import Urgency
from openfall.workers.backends.health_check import failed_report
from openfall.workers.backends.registry import open_backend
from openfall.workers.gpu.build_cards_view import CardsContext
from openfall.workers.gpu.card_contents import CardContents, local_cards
from openfall.workers.gpu.card_engine import CardEngine
from openfall.workers.gpu.card_manager import CardManager
from openfall.workers.gpu.learned_use import LearnedUse
from openfall.workers.maintenance.fleet_cache import FleetCache


def card_manager(
    fleet_cache: FleetCache, identity: WorkerIdentity, stack: contextlib.AsyncExitStack
) -> CardManager | None:
    """The manager of the cards of a worker's pool; None: the pool has none. `stack` closes what this opens."""
    link, catalog = fleet_cache.link, fleet_cache.catalog
    store = CardStore(link, catalog, identity.pool, identity.name)
    if not store.backends:
        return None
    engines: dict[str, CardEngine] = {}
    for name in store.backends:
        client = open_backend(catalog.backends[name])
        stack.push_async_callback(client.close)
        models = {alias: catalog.models[alias] for alias, names in store.models.items() if name in names}
        engines[name] = CardEngine(client, models, catalog.backends[name].loader or Loader.OLLAMA)
    wakeup = WakeUp(link.server, (f"cards:{identity.pool}",))
    stack.push_async_callback(wakeup.close)

    def latency_of(alias: str) -> float | None:
        return fleet_cache.fleet_state(Urgency.BACKGROUND).model(alias).latency

    async def on_load_failed(target: str, failure: Failure, now: float) -> None:
        """Jobs of the model go elsewhere: it counts as unhealthy, and its state says why."""
        report = failed_report(failure, "load", now)
        await remember_load_error(link, target, report["detail"], now)
        await remember_health(link, target, report)

    contents = CardContents(engines=engines, store=store, local_cards=local_cards(catalog.backends, store.backends))
    use = LearnedUse(link, tuple(store.models))
    context = CardsContext(catalog, store, engines, latency_of, use.expected)
    return CardManager(context=context, contents=contents, wakeup=wakeup, on_load_failed=on_load_failed, use=use)
