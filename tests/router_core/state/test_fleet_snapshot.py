"""The fleet snapshot: slots, queues, latency and loaded models of each model, and the queues that nothing serves."""

from __future__ import annotations

from dataclasses import replace

from openfall.router_core.state.backend_reports import LOADED_TTL_SECONDS, remember_loaded
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.operator_switches import set_local_only
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import BreakerState, Urgency
from tests.router_core.state.snapshot_steps import BATCH, CATALOG, FAILURE, INTERACTIVE, OK, POLICY, serve_all, state


def test_a_served_model_is_not_blocked_and_has_all_its_slots(fleet):
    async def story(f):
        await serve_all(f)
        snapshot = await fetch_fleet_snapshot(f.link, CATALOG)
        models = snapshot.fleet_state(INTERACTIVE).models
        assert (snapshot.now, snapshot.local_only, snapshot.unknown_queues, snapshot.stranded_queues) == (
            f.clock.now,
            False,
            set(),
            (),
        )
        assert {alias: (model.blocked, model.free) for alias, model in models.items()} == {
            "smol": (None, 5), "large": (None, 2), "far": (None, 8)}  # fmt: skip
        smol = models["smol"]
        assert (smol.waiting, smol.oldest, smol.loaded, smol.latency) == (0, 0, None, None)

    fleet(story)


def test_slots_in_use_and_jobs_that_wait_are_counted(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        await f.enqueue(5, "gpu.large.background")
        f.clock.now += 3
        await f.enqueue(2, "gpu.large.batch")
        await worker.claim(3, 0)
        f.clock.now += 4
        snapshot = await fetch_fleet_snapshot(f.link, CATALOG)
        large = [snapshot.fleet_state(urgency).model("large") for urgency in Urgency]
        waiting = [(model.waiting, model.oldest) for model in large]
        assert waiting == [(0, 0), (3, 7), (5, 7)], "less urgent jobs do not wait before a job"
        smol = snapshot.fleet_state(INTERACTIVE).model("smol")
        assert large[0].free == 0
        assert (smol.free, smol.waiting) == (3, 0), "all models share the slots of the tower"

    fleet(story)


def test_a_reserved_slot_is_free_for_interactive_jobs_only(fleet):
    async def story(f):
        box = CATALOG.backends["box"].model_copy(update={"reserved_interactive": 2})
        catalog = CATALOG.model_copy(update={"backends": {**CATALOG.backends, "box": box}})
        smol = {urgency: catalog.queue("smol", urgency) for urgency in Urgency}
        drained = (QueueSubscription(queue, (BackendCapacity("box", 3, (), 2),)) for queue in smol.values())
        worker = await f.start_worker("worker-gpu", *drained)

        async def free():
            snapshot = await fetch_fleet_snapshot(f.link, catalog)
            return [snapshot.fleet_state(urgency).model("smol").free for urgency in Urgency]

        assert await free() == [5, 3, 3]  # two of them at the tower
        await f.enqueue(1, smol[INTERACTIVE])
        await f.claim(worker)
        assert await free() == [4, 3, 3]
        await f.enqueue(1, smol[BATCH])
        await f.claim(worker)
        assert await free() == [3, 2, 2]

    fleet(story)


def test_latency_is_the_mean_of_the_recent_calls(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        await f.enqueue(2, "gpu.large.background")
        for took in (1.0, 3.0):
            delivery = await f.claim(worker)
            attempt = replace(f.attempt(delivery), started_at=f.clock.now - took)
            await f.finish_call(worker, delivery, OK, attempt=attempt)
        assert (await state(f, "large")).latency == 2
        f.clock.now += POLICY.window + POLICY.window / 10
        assert (await state(f, "large")).latency is None

    fleet(story)


def test_the_loaded_models_of_a_backend_are_valid_for_a_while(fleet):
    async def story(f):
        await serve_all(f)
        await remember_loaded(f.link, "tower", ["large:70b"], f.clock.now)
        assert [(await state(f, model)).loaded for model in ("large", "smol", "far")] == [True, False, None]
        await remember_loaded(f.link, "box", ["smol:1b"], f.clock.now + 5)
        f.clock.now += LOADED_TTL_SECONDS + 1
        assert [(await state(f, model)).loaded for model in ("large", "smol")] == [None, True]

    fleet(story)


def test_unknown_queues_are_those_that_a_live_worker_serves(fleet):
    async def story(f):
        await serve_all(f)
        newer = await f.start_worker("newer", QueueSubscription("gpu.added.interactive", (BackendCapacity("box", 3),)))
        for queue in ("gpu.added.interactive", "gpu.removed.interactive"):
            await f.enqueue(1, queue)
        snapshot = await fetch_fleet_snapshot(f.link, CATALOG)
        assert (snapshot.unknown_queues, snapshot.stranded_queues) == ({"gpu.added.interactive"}, ())
        f.clock.now += 11  # its worker is gone
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).unknown_queues == frozenset()
        assert await f.claim(newer), "its worker beats again"

    fleet(story)


def test_queues_of_jobs_with_time_are_named_in_an_outage_while_another_model_can_take_more(fleet):
    async def story(f):
        await serve_all(f)
        await f.enqueue(1, "gpu.large.background")
        await f.enqueue(1, "gpu.large.interactive")
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).blocked_queues == ()
        await force_breaker(f.link, "tower/large", BreakerOverride(BreakerState.OPEN, "hot", 60), POLICY)
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).blocked_queues == ("gpu.large.background",)
        for model, spec in CATALOG.models.items():
            for backend in spec.backends:
                override = BreakerOverride(BreakerState.OPEN, "all", 60)
                await force_breaker(f.link, f"{backend}/{model}", override, POLICY)
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).blocked_queues == (), "no model could take them"

    fleet(story)


def test_jobs_are_stranded_in_an_outage_and_interactive_ones_where_no_worker_can_claim_them(fleet):
    async def story(f):
        await serve_all(f)
        for queue in ("gpu.large.interactive", "gpu.large.background", "cloud.far.interactive", "cloud.far.background"):
            await f.enqueue(1, queue)
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).stranded_queues == ()
        await force_breaker(f.link, "tower/large", BreakerOverride(BreakerState.OPEN, "hot", 60), POLICY)
        await set_local_only(f.link, True)
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).stranded_queues == (
            "gpu.large.interactive",
            "gpu.large.background",
            "cloud.far.interactive",
        )
        f.clock.now += 11
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).stranded_queues == ("cloud.far.interactive",), (
            "a worker that restarts has time"
        )

    fleet(story)


def test_a_snapshot_is_one_round_trip_and_writes_nothing(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        await f.enqueue(5, "gpu.large.background")
        await f.finish_calls(worker, *[FAILURE] * 5)
        await f.link.load("fleet_snapshot")
        before, trips = f.dump(), f.link.round_trips
        await fetch_fleet_snapshot(f.link, CATALOG)
        assert (f.dump(), f.link.round_trips) == (before, trips + 1)

    fleet(story)
