"""A fleet of two pools whose snapshot the tests read."""

from __future__ import annotations

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Pool
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.worker_subscription import QueueSubscription, backends_for
from openfall.router_core.vocabulary import CallSignal, Urgency

INTERACTIVE, BACKGROUND, BATCH = Urgency
OK, SLOW, FAILURE, NEUTRAL, TRIP = CallSignal
POLICY = BreakerPolicy()
CATALOG = Catalog(
    pools={"gpu": Pool(local=True), "cloud": Pool()},
    backends={
        "box": Backend(url="http://127.0.0.1:1", pool="gpu", slots=3),
        "tower": Backend(url="http://127.0.0.1:2", pool="gpu", slots=2),
        "east": Backend(url="http://127.0.0.1:3", pool="cloud", slots=8, api_key="secret"),
    },
    models={
        "smol": ModelSpec(upstream="smol:1b", backends=("box", "tower")),
        "large": ModelSpec(upstream="large:70b", backends=("tower",)),
        "far": ModelSpec(upstream="far-9", backends=("east",)),
    },
)
(KEY,) = CATALOG.credentials("east")


async def serve(f, pool="gpu", *models, urgencies=tuple(Urgency)):
    models = models or CATALOG.models_of(pool)
    drained = [
        QueueSubscription(CATALOG.queue(model, urgency), tuple(backends_for(CATALOG, model)))
        for urgency in urgencies
        for model in models
    ]
    return await f.start_worker(f"worker-{pool}", *drained, local=CATALOG.pools[pool].local)


async def serve_all(f):
    return await serve(f), await serve(f, "cloud")


async def state(f, model="smol", urgency=BACKGROUND):
    return (await fetch_fleet_snapshot(f.link, CATALOG)).fleet_state(urgency).model(model)


async def blocked(f, model="smol", urgency=BACKGROUND):
    """(reason, seconds from now, detail)."""
    block = (await state(f, model, urgency)).blocked
    return block and (block.reason, block.until - f.clock.now, block.detail)
