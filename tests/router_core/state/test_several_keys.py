"""A backend with several keys: calls take turns over those that may be used; what happens to one leaves the others."""

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.state.breakers import (
    BreakerOverride,
    ProbeResult,
    force_breaker,
    list_breakers,
    report_probe,
)
from openfall.router_core.state.external_calls import ExternalCall, report_external_call, start_external_call
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import BreakerState, CallSignal, CredentialSignal, ErrorClass, Urgency
from tests.router_core.state.breaker_steps import NEUTRAL, SMOL
from tests.router_core.state.snapshot_steps import CATALOG

BOX = QueueSubscription(SMOL, (BackendCapacity("box", 40, ("one", "two", "three")),), probe_timeout_seconds=30)
PARK, COOLDOWN = CredentialSignal.PARK, CredentialSignal.COOLDOWN
POLICY = BreakerPolicy(jitter=0, probe_successes=1, slow_start=0)


async def keys_of(f, worker, count):
    return [delivery.credential for delivery in (await worker.claim(count, 0)).deliveries]


def test_calls_take_turns_over_the_keys_and_the_whole_fleet_shares_the_turn(fleet):
    async def story(f):
        first, second = await f.start_worker("wa", BOX), await f.start_worker("wb", BOX)
        await f.enqueue(9, SMOL)
        assert await keys_of(f, first, 4) == ["one", "two", "three", "one"]
        assert await keys_of(f, second, 2) == ["two", "three"]
        assert await keys_of(f, first, 3) == ["one", "two", "three"]

    fleet(story)


def test_a_refused_key_is_parked_alone_and_the_next_calls_use_the_others(fleet):
    async def story(f):
        worker = await f.start_worker("wa", BOX, policy=POLICY)
        await f.enqueue(9, SMOL)
        delivery = await f.claim(worker)
        call = {"credential": delivery.credential, "credential_signal": PARK, "one_of_several": True}
        await f.finish_call(worker, delivery, NEUTRAL, **call)
        assert await keys_of(f, worker, 4) == ["two", "three", "two", "three"]
        assert [status.target for status in await list_breakers(f.link)] == ["key:one"]

    fleet(story)


def test_a_429_cools_down_the_key_that_got_it_and_no_other(fleet):
    async def story(f):
        worker = await f.start_worker("wa", BOX)
        await f.enqueue(9, SMOL)
        call = {"credential": "one", "credential_signal": COOLDOWN, "one_of_several": True, "cooldown_seconds": 30.0}
        await f.finish_call(worker, await f.claim(worker), NEUTRAL, **call)
        assert await keys_of(f, worker, 3) == ["two", "three", "two"]
        await f.pass_time(30, (worker, ()))
        assert "one" in await keys_of(f, worker, 3)

    fleet(story)


def test_while_every_key_cools_down_no_job_is_claimed_and_the_claim_names_the_end_of_the_first(fleet):
    async def story(f):
        worker = await f.start_worker("wa", BOX)
        await f.enqueue(4, SMOL)
        for key, seconds in (("one", 30.0), ("two", 20.0), ("three", 40.0)):
            call = {"credential": key, "credential_signal": COOLDOWN, "one_of_several": True}
            await f.finish_call(worker, await f.claim(worker), NEUTRAL, cooldown_seconds=seconds, **call)
        claim = await worker.claim(9, 0)
        assert (claim.deliveries, claim.next_due_at) == ((), f.clock.now + 20)
        await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.CLOSED, "an operator", 5), POLICY)
        assert await keys_of(f, worker, 1) == ["one"], "a forced breaker ends the cooldowns of its keys"

    fleet(story)


def test_a_parked_key_is_probed_with_itself_and_comes_back(fleet):
    async def story(f):
        worker = await f.start_worker("wa", BOX, policy=POLICY)
        await f.enqueue(5, SMOL)
        await force_breaker(f.link, "key:two", BreakerOverride(BreakerState.OPEN, "a test", 10), POLICY)
        assert await keys_of(f, worker, 2) == ["one", "three"]
        f.clock.now += 10
        (probe,) = (await worker.claim(0, 0)).probes
        assert (probe.target, probe.credential) == ("key:two", "two")
        await report_probe(f.link, probe, ProbeResult(CallSignal.OK, "", 0.0, 0.5), POLICY)
        assert await keys_of(f, worker, 3) == ["one", "two", "three"]

    fleet(story)


def test_the_probe_of_a_model_uses_a_key_that_is_not_parked_if_there_is_one(fleet):
    async def story(f):
        worker = await f.start_worker("wa", BOX, policy=POLICY)
        for target in ("key:one", "key:two"):
            await force_breaker(f.link, target, BreakerOverride(BreakerState.OPEN, "a test"), POLICY)
        for keys in ("three", "one"):
            await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.OPEN, "a test", 1), POLICY)
            f.clock.now += 1
            (probe,) = (await worker.claim(0, 0)).probes
            assert (probe.target, probe.credential) == ("box/smol", keys)
            await force_breaker(f.link, "key:three", BreakerOverride(BreakerState.OPEN, "a test"), POLICY)

    fleet(story)


def test_the_probes_of_a_model_take_turns_over_the_keys_so_that_a_refused_key_does_not_keep_it_open(fleet):
    async def story(f):
        worker = await f.start_worker("wa", BOX, policy=POLICY)
        await force_breaker(f.link, "box/smol", BreakerOverride(BreakerState.OPEN, "a test", 1), POLICY)
        keys = []
        for signal in (CallSignal.NEUTRAL, CallSignal.NEUTRAL, CallSignal.OK):
            f.clock.now += 5
            (probe,) = (await worker.claim(0, 0)).probes
            keys.append(probe.credential)
            state = await report_probe(f.link, probe, ProbeResult(signal, "", 5.0, 0.5), POLICY)
        assert (keys, state) == (["one", "two", "three"], BreakerState.CLOSED)

    fleet(story)


def with_keys(*keys):
    east = CATALOG.backends["east"].model_copy(update={"api_key": "", "api_keys": keys})
    east = type(east).model_validate({**east.model_dump(), "api_keys": keys})
    return CATALOG.model_copy(update={"backends": {**CATALOG.backends, "east": east}})


def test_the_snapshot_shows_each_key_and_blocks_the_model_only_when_every_key_is_blocked(fleet):
    async def story(f):
        catalog = with_keys("sk-first", "sk-second")
        first, second = catalog.credentials("east")
        await force_breaker(f.link, f"key:{first}", BreakerOverride(BreakerState.OPEN, "auth", 60), POLICY)
        (east,) = (await fetch_fleet_snapshot(f.link, catalog)).backends["far"]
        assert east.blocked is None
        assert [(key.credential, key.blocked and key.blocked.detail) for key in east.keys] == [
            (first, "is parked by an operator (auth)"), (second, None),
        ]  # fmt: skip
        f.store.hset("of:blocked", f"east/far#{second} cool", int((f.clock.now + 20) * 1000))
        (east,) = (await fetch_fleet_snapshot(f.link, catalog)).backends["far"]
        assert east.blocked.detail == (
            "none of its 2 keys may be used: key 1 is parked by an operator (auth); key 2 cools down after a 429"
        )
        assert east.blocked.until == f.clock.now + 20, "the end of the first block"

    fleet(story)


def test_a_program_that_calls_by_itself_gets_its_keys_in_turn_and_none_that_is_parked(fleet):
    async def story(f):
        catalog = with_keys("sk-first", "sk-second", "sk-third")
        first, second, third = catalog.credentials("east")
        starts = [await start_external_call(f.link, catalog, "east", "far") for _ in range(4)]
        assert [start.credential for start in starts] == [first, second, third, first]
        call = ExternalCall(model="far", backend="east", start=starts[1], error=ErrorClass.AUTH)
        assert await report_external_call(f.link, catalog, call)
        call = ExternalCall(model="far", backend="east", start=starts[2], error=ErrorClass.RATE_LIMITED)
        await report_external_call(f.link, catalog, call)
        starts = [await start_external_call(f.link, catalog, "east", "far") for _ in range(2)]
        assert [start.credential for start in starts] == [first, first]
        assert (await fetch_fleet_snapshot(f.link, catalog)).fleet_state(Urgency.BATCH).model("far").blocked.reason != (
            "credential"
        )

    fleet(story)


def test_no_secret_of_any_key_is_in_redis(fleet):
    async def story(f):
        catalog = with_keys("sk-first", "sk-second")
        for error in (ErrorClass.AUTH, ErrorClass.RATE_LIMITED):
            start = await start_external_call(f.link, catalog, "east", "far")
            await report_external_call(
                f.link, catalog, ExternalCall(model="far", backend="east", start=start, error=error)
            )
        dump = repr(f.dump()) + repr([key for key in f.store.keys("*")])
        assert "sk-" not in dump
        assert "sk-" not in repr([f.store.hgetall(key) for key in f.store.scan_iter("*", _type="hash")])

    fleet(story)
