"""What whoever chooses is told of the fleet: every obstacle, for how long, in which words; what is free and quick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.entries import Backend, ModelSpec, Pool
from openfall.router_core.catalog.policies import BreakerPolicy, RetryPolicy
from openfall.router_core.routing.fleet_state import FOREVER
from openfall.router_core.state.breakers import BreakerOverride, ProbeResult, force_breaker, list_breakers, report_probe
from openfall.router_core.state.fleet_flags import (
    remember_health,
    remember_loaded,
    remembered_health,
    set_local_only,
    try_lock,
)
from openfall.router_core.state.fleet_snapshot import HEALTH_TTL_SECONDS, LOADED_TTL_SECONDS, fetch_fleet_snapshot
from openfall.router_core.state.subscription import BackendCapacity, QueueSubscription, backends_for
from openfall.router_core.vocabulary import BlockReason, BreakerState, CallSignal, CredentialSignal, Urgency

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
    retry=RetryPolicy(retry_budget=0.2),
)
KEY = CATALOG.credential("east")


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
    """(obstacle, seconds from now, words)."""
    readout = (await state(f, model, urgency)).blocked
    return readout and (readout.reason, readout.until - f.clock.now, readout.detail)


def test_a_served_model_is_not_blocked_and_has_all_its_slots(fleet):
    async def story(f):
        await serve_all(f)
        readout = await fetch_fleet_snapshot(f.link, CATALOG)
        actual = readout.fleet_state(INTERACTIVE).models
        assert (readout.now, readout.local_only, readout.unknown_queues, readout.stranded_queues) == (
            f.clock.now,
            False,
            set(),
            (),
        )
        assert {alias: (model.blocked, model.free) for alias, model in actual.items()} == {
            "smol": (None, 5), "large": (None, 2), "far": (None, 8)}  # fmt: skip
        smol = actual["smol"]
        assert (smol.waiting, smol.oldest, smol.loaded, smol.latency, smol.may_retry) == (0, 0, None, None, True)

    fleet(story)


def test_a_queue_without_a_live_worker_is_not_served(fleet):
    async def story(f):
        await serve(f, "gpu", "smol", urgencies=(BACKGROUND,))
        assert await blocked(f) is None
        nobody = (BlockReason.NO_WORKER, FOREVER, "no worker of pool gpu is there")
        assert [await blocked(f, "large"), await blocked(f, "smol", BATCH)] == [nobody, nobody]
        f.clock.now += 11  # it beats no more
        assert await blocked(f) == nobody

    fleet(story)


def test_a_queue_is_paused_for_one_urgency(fleet):
    async def story(f):
        await serve_all(f)
        f.store.sadd("of:paused", "gpu.smol.background")
        assert await blocked(f) == (BlockReason.PAUSED, FOREVER, "queue gpu.smol.background is paused")
        assert await blocked(f, urgency=INTERACTIVE) is None

    fleet(story)


@pytest.mark.parametrize("by", ["switch", "catalog"])
def test_local_only_keeps_everything_from_pools_that_are_not_local(fleet, by):
    async def story(f):
        await serve_all(f)
        catalog = CATALOG
        if by == "switch":
            await set_local_only(f.link, True)
        else:
            catalog = CATALOG.model_copy(update={"local_only": True})
        readout = (await fetch_fleet_snapshot(f.link, catalog)).fleet_state(BATCH)
        assert readout.local_only
        assert readout.model("far").blocked.reason is BlockReason.LOCAL_ONLY
        assert readout.model("smol").blocked is None

    fleet(story)


def test_an_open_breaker_says_why_and_until_when(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        await f.enqueue(5, "gpu.large.background")
        await f.finish_calls(worker, *[FAILURE] * 5)
        words = "its breaker is {} (5 failures in a row: timeout)"
        assert await blocked(f, "large") == (BlockReason.BREAKER, 30, words.format("open"))
        f.clock.now += 30
        await worker.beat([])
        obstacle, soon, actual = await blocked(f, "large")
        assert (obstacle, soon > 0, actual) == (BlockReason.BREAKER, True, words.format("half open"))
        (probe,) = (await worker.claim(1, 0)).probes
        assert (await blocked(f, "large"))[2] == "its breaker is half open (time to probe)"
        await report_probe(f.link, probe, ProbeResult(OK, "", 0, 0.5), POLICY)
        (probe,) = (await worker.claim(1, 0)).probes
        await report_probe(f.link, probe, ProbeResult(OK, "", 0, 0.5), POLICY)
        assert await blocked(f, "large") is None, "though its slots come back one by one"

    fleet(story)


def test_a_breaker_forced_open_without_an_end_blocks_for_ever(fleet):
    async def story(f):
        await serve_all(f)
        await force_breaker(f.link, "tower/large", BreakerOverride(BreakerState.OPEN, "sold"), POLICY)
        assert await blocked(f, "large") == (BlockReason.BREAKER, FOREVER, "its breaker is open (sold)")

    fleet(story)


def test_a_model_at_two_backends_is_blocked_when_both_are_and_until_the_first_opens(fleet):
    async def story(f):
        await serve_all(f)
        await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.OPEN, "hot", 60), POLICY)
        assert ((await state(f)).blocked, (await state(f)).free) == (None, 2), "the slots of the other one"
        await force_breaker(f.link, "tower/smol", BreakerOverride(BreakerState.OPEN, "hotter", 20), POLICY)
        assert await blocked(f) == (BlockReason.BREAKER, 20, "its breaker is open (hotter)")
        assert (await state(f)).free == 0
        assert await blocked(f, "large") is None, "another model there has a breaker of its own"

    fleet(story)


def test_a_parked_key_and_a_cooldown_are_reported_as_such(fleet):
    async def story(f):
        _, worker = await serve_all(f)
        await f.enqueue(2, "cloud.far.background")
        more = {"credential": KEY, "cooldown_seconds": 9.0}
        await f.finish_calls(worker, NEUTRAL, credential_signal=CredentialSignal.COOLDOWN, **more)
        assert await blocked(f, "far") == (BlockReason.COOLDOWN, 9, "it cools down after a 429")
        f.clock.now += 9
        assert await blocked(f, "far") is None
        await f.finish_calls(worker, NEUTRAL, credential_signal=CredentialSignal.PARK, **more)
        obstacle, seconds, words = await blocked(f, "far")
        assert (obstacle, seconds) == (BlockReason.CREDENTIAL, 30)
        assert words.startswith("the key of east is parked (it cannot recover before it is repaired")
        await force_breaker(f.link, "east/far", BreakerOverride(BreakerState.OPEN, "its own trouble", 5), POLICY)
        assert await blocked(f, "far") == (BlockReason.BREAKER, 5, "its breaker is open (its own trouble)")
        assert "secret" not in str(f.dump())

    fleet(story)


def test_a_failed_health_check_counts_while_it_is_fresh(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        actual = {"at": f.clock.now, "ok": False, "how": "prompt", "latency": 1.0, "detail": "it answered 'potato'"}
        await remember_health(f.link, "tower/large", actual)
        await remember_health(f.link, "tower/smol", {**actual, "ok": True})
        words = "its health check failed (it answered 'potato')"
        assert await blocked(f, "large") == (BlockReason.UNHEALTHY, HEALTH_TTL_SECONDS, words)
        assert await blocked(f) is None
        assert (await remembered_health(f.link))["tower/large"]["how"] == "prompt"
        f.clock.now += HEALTH_TTL_SECONDS + 1
        await worker.beat([])
        assert await blocked(f, "large") is None

    fleet(story)


def test_slots_in_use_and_jobs_that_wait_are_counted(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        await f.enqueue(5, "gpu.large.background")
        f.clock.now += 3
        await f.enqueue(2, "gpu.large.batch")
        await worker.claim(3, 0)
        f.clock.now += 4
        readout = await fetch_fleet_snapshot(f.link, CATALOG)
        before = [
            (readout.fleet_state(u).model("large").waiting, readout.fleet_state(u).model("large").oldest)
            for u in Urgency
        ]
        assert before == [(0, 0), (3, 7), (5, 7)], "what is less urgent does not stand before a job"
        large, smol = readout.fleet_state(INTERACTIVE).model("large"), readout.fleet_state(INTERACTIVE).model("smol")
        assert large.free == 0
        assert (smol.free, smol.waiting) == (3, 0), "the tower's slots are everybody's"

    fleet(story)


def test_a_reserved_slot_is_free_for_interactive_jobs_only(fleet):
    async def story(f):
        box = CATALOG.backends["box"].model_copy(update={"reserved_interactive": 2})
        catalog = CATALOG.model_copy(update={"backends": {**CATALOG.backends, "box": box}})
        smol = {urgency: catalog.queue("smol", urgency) for urgency in Urgency}
        drained = (QueueSubscription(queue, (BackendCapacity("box", 3, "", 2),)) for queue in smol.values())
        worker = await f.start_worker("worker-gpu", *drained)

        async def free():
            sightings = await fetch_fleet_snapshot(f.link, catalog)
            return [sightings.fleet_state(urgency).model("smol").free for urgency in Urgency]

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


def test_a_pool_may_retry_a_fifth_of_its_calls_and_always_a_few(fleet):
    async def story(f):
        worker, _ = await serve_all(f)

        async def call(count, repeated):
            await f.enqueue(count, "gpu.large.background")
            await f.finish_calls(worker, *[OK] * count, is_retry=repeated)
            return (await state(f, "large")).may_retry, (await state(f, "smol")).may_retry

        assert await call(4, True) == (True, True), "4 of 4, but only 4"
        assert await call(1, True) == (False, False), "the budget is the pool's"
        assert (await state(f, "far")).may_retry
        assert await call(20, False) == (False, False), "5 of 25"
        assert await call(1, False) == (True, True)

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
        readout = await fetch_fleet_snapshot(f.link, CATALOG)
        assert (readout.unknown_queues, readout.stranded_queues) == ({"gpu.added.interactive"}, ())
        f.clock.now += 11  # its worker is gone
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).unknown_queues == frozenset()
        assert await f.claim(newer), "and may come back"

    fleet(story)


def test_interactive_jobs_are_stranded_where_no_worker_can_claim_them(fleet):
    async def story(f):
        await serve_all(f)
        for queue in ("gpu.large.interactive", "gpu.large.background", "cloud.far.interactive"):
            await f.enqueue(1, queue)
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).stranded_queues == ()
        await force_breaker(f.link, "tower/large", BreakerOverride(BreakerState.OPEN, "hot", 60), POLICY)
        await set_local_only(f.link, True)
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).stranded_queues == (
            "gpu.large.interactive",
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


def test_a_lock_is_granted_to_the_first_caller(fleet):
    async def story(f):
        assert [await try_lock(f.link, "memory of box", 60) for _ in range(3)] == [True, False, False]
        assert await try_lock(f.link, "memory of tower", 60)
        assert 0 < f.store.pttl("of:lock:memory of box") <= 60_000

    fleet(story)


def test_blocks_of_unknown_targets_do_no_harm(fleet):
    async def story(f):
        worker, _ = await serve_all(f)
        for target in ("sold/smol", "key:0123456789", "box/removed"):
            await force_breaker(f.link, target, BreakerOverride(BreakerState.OPEN, "a test", 1), POLICY)
        f.clock.now += 3600
        await worker.beat([])
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), 0)
        assert await blocked(f) is None
        assert len(await list_breakers(f.link)) == 3, "they are listed until an operator closes them"
        for target in ("sold/smol", "key:0123456789", "box/removed"):
            await force_breaker(f.link, target, BreakerOverride(BreakerState.CLOSED, "it is gone"), POLICY)
        assert f.store.hlen("of:blocked") == 0

    fleet(story)
