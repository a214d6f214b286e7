"""What is away for more than one model: a parked key, a 429, and the switch that keeps everything in the house."""

from __future__ import annotations

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.state.breakers import BreakerOverride, ProbeResult, force_breaker, list_breakers, report_probe
from openfall.router_core.state.fleet_lock import try_lock
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.state.operator_switches import local_only, set_local_only
from openfall.router_core.state.reap_and_sweep import sweep
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import BreakerState, CallSignal, CredentialSignal

OK, SLOW, FAILURE, NEUTRAL, TRIP = CallSignal
PARK, COOLDOWN = CredentialSignal.PARK, CredentialSignal.COOLDOWN
POLICY = BreakerPolicy()
SMOL, LARGE, FAR = "cloud.smol.background", "cloud.large.background", "cloud.far.background"
PAID = (
    QueueSubscription(SMOL, (BackendCapacity("east", 8, ("one",)),)),
    QueueSubscription(LARGE, (BackendCapacity("west", 8, ("one",)),)),
)
OTHER = QueueSubscription(FAR, (BackendCapacity("south", 8, ("two",)), BackendCapacity("north", 8)))
AT_HOME = "gpu.smol.background"
HOME = QueueSubscription(AT_HOME, (BackendCapacity("box", 4),))


async def parked(f, worker):
    await f.enqueue(1, SMOL)
    (reply,) = await f.finish_calls(worker, NEUTRAL, credential="one", credential_signal=PARK)
    assert reply.opened_breaker


async def taken(f, worker, want=9):
    return [(d.queue, d.backend) for d in (await worker.claim(want, 0)).deliveries]


def test_a_refused_key_parks_every_model_that_uses_it_and_no_other(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *PAID, OTHER, local=False)
        await parked(f, worker)
        for queue in (SMOL, LARGE, FAR):
            await f.enqueue(1, queue)
        assert await taken(f, worker) == [(FAR, "south")]
        (status,) = await list_breakers(f.link)
        assert (status.target, status.state) == ("key:one", BreakerState.OPEN)
        assert status.why == "a failure that does not pass by itself (timeout)"

    fleet(story)


def test_a_parked_key_leaves_the_backend_of_a_model_that_needs_another(fleet):
    async def story(f):
        worker = await f.start_worker("wa", OTHER, local=False)
        await f.enqueue(2, FAR)
        await f.finish_calls(worker, NEUTRAL, credential="two", credential_signal=PARK)
        assert await taken(f, worker) == [(FAR, "north")]

    fleet(story)


def test_one_probe_in_the_fleet_checks_a_parked_key_and_frees_it(fleet):
    async def story(f):
        first, second = await f.start_worker("wa", *PAID, local=False), await f.start_worker("wb", PAID[1], local=False)
        await parked(f, first)
        f.clock.now += POLICY.open_for
        (probe,) = (await second.claim(1, 0)).probes
        assert (probe.target, probe.backend, probe.model) == ("key:one", "west", "large")
        assert (await first.claim(1, 0)).probes == ()
        await report_probe(f.link, probe, ProbeResult(OK, "", 0, 0.5), POLICY)
        (probe,) = (await first.claim(1, 0)).probes
        assert await report_probe(f.link, probe, ProbeResult(OK, "", 0, 0.5), POLICY) == BreakerState.CLOSED
        for queue in (SMOL, LARGE):
            await f.enqueue(1, queue)
        assert await taken(f, first) == [(SMOL, "east"), (LARGE, "west")]

    fleet(story)


def test_calls_in_flight_when_a_key_was_parked_do_not_park_it_again(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *PAID, local=False)
        await f.enqueue(2, LARGE)
        late = (await worker.claim(2, 0)).deliveries
        await parked(f, worker)
        await f.finish_call(worker, late[0], NEUTRAL, credential="one", credential_signal=PARK)
        await force_breaker(f.link, "key:one", BreakerOverride(BreakerState.CLOSED, "it was renewed", 0.001), POLICY)
        f.clock.now += 1
        await f.finish_call(worker, late[1], NEUTRAL, credential="one", credential_signal=PARK)
        (status,) = await list_breakers(f.link)
        assert (status.state, status.epoch, status.open_count) == (BreakerState.CLOSED, 2, 1)

    fleet(story)


def test_every_caller_waits_as_long_as_a_429_asks(fleet):
    async def story(f):
        first, second = (
            await f.start_worker("wa", PAID[0], local=False),
            await f.start_worker("wb", PAID[0], local=False),
        )
        await f.enqueue(5, SMOL)
        first_delivery, two, three = (await second.claim(3, 0)).deliveries
        until = f.clock.now + 20
        await f.finish_call(second, first_delivery, NEUTRAL, credential_signal=COOLDOWN, cooldown_seconds=20.0)
        await f.finish_call(second, two, NEUTRAL, credential_signal=COOLDOWN, cooldown_seconds=3.0)
        await f.finish_call(second, three, NEUTRAL, credential_signal=COOLDOWN, cooldown_seconds=0.0)
        f.clock.now += 19.999
        for worker in (first, second):
            claim = await worker.claim(1, 0)
            assert (claim.deliveries, claim.next_due_at) == ((), until)
        assert [status.cooling_until for status in await list_breakers(f.link)] == [until]
        f.clock.now = until
        assert await taken(f, first) == [(SMOL, "east")] * 2
        assert await list_breakers(f.link) == [], "it was never the breaker's affair"

    fleet(story)


def test_a_429_of_one_model_does_not_affect_another_at_the_same_backend(fleet):
    async def story(f):
        subscriptions = (
            QueueSubscription(SMOL, (BackendCapacity("east", 8),)),
            QueueSubscription(LARGE, (BackendCapacity("east", 8),)),
        )
        worker = await f.start_worker("wa", *subscriptions, local=False)
        await f.enqueue(2, SMOL)
        await f.finish_calls(worker, NEUTRAL, credential_signal=COOLDOWN, cooldown_seconds=20.0)
        await f.enqueue(1, LARGE)
        assert await taken(f, worker) == [(LARGE, "east")]

    fleet(story)


def test_a_429_during_a_ramp_is_honoured(fleet):
    async def story(f):
        worker = await f.start_worker("wa", PAID[0], local=False)
        await f.enqueue(3, SMOL)
        await f.finish_calls(worker, TRIP)
        f.clock.now += POLICY.open_for
        for _ in range(POLICY.probe_successes):
            (probe,) = (await worker.claim(0, 0)).probes
            await report_probe(f.link, probe, ProbeResult(OK, "", 0, 0.5), POLICY)
        await f.finish_calls(worker, NEUTRAL, credential_signal=COOLDOWN, cooldown_seconds=2.0)
        assert await taken(f, worker) == []
        f.clock.now += 2
        assert await taken(f, worker) == [(SMOL, "east")]

    fleet(story)


def test_a_probe_waits_for_the_end_of_a_cooldown(fleet):
    async def story(f):
        worker = await f.start_worker("wa", PAID[0], local=False)
        await f.enqueue(2, SMOL)
        limited, broken = (await worker.claim(2, 0)).deliveries
        await f.finish_call(worker, limited, NEUTRAL, credential_signal=COOLDOWN, cooldown_seconds=90.0)
        await f.finish_call(worker, broken, TRIP)
        f.clock.now += 89
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), f.clock.now + 1)
        f.clock.now += 1
        assert (await worker.claim(1, 0)).probes

    fleet(story)


def test_many_due_probes_are_handed_out_two_at_a_time_without_a_wait(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *PAID, OTHER, local=False)
        for target in ("east/smol", "west/large", "south/far", "north/far", "key:two"):
            await force_breaker(f.link, target, BreakerOverride(BreakerState.OPEN, "a test", 1), POLICY)
        f.clock.now += 1
        claims = [await worker.claim(1, 0) for _ in range(3)]
        assert [len(claim.probes) for claim in claims] == [2, 2, 1]
        assert [claim.next_due_at == f.clock.now for claim in claims] == [True, True, False]
        assert {probe.target for claim in claims for probe in claim.probes} == {status.target for status in
            await list_breakers(f.link)}  # fmt: skip

    fleet(story)


def test_with_the_switch_on_a_pool_that_is_not_local_gets_no_job_and_no_probe(fleet):
    async def story(f):
        cloud, home = await f.start_worker("wa", PAID[0], local=False), await f.start_worker("wb", HOME)
        await f.enqueue(3, SMOL)
        await f.enqueue(1, AT_HOME)
        before = await f.claim(cloud)
        await force_breaker(f.link, "east/smol", BreakerOverride(BreakerState.OPEN, "a test", 1), POLICY)
        f.clock.now += 1
        await set_local_only(f.link, True, "a guest is here")
        assert await local_only(f.link) == "a guest is here"
        claim = await cloud.claim(9, 1)
        assert (claim.deliveries, claim.probes, claim.state) == ((), (), "busy")
        assert await taken(f, home) == [(AT_HOME, "box")]
        assert await f.settle(cloud, before, to=SMOL) == "settled", "what was claimed before goes on"
        await set_local_only(f.link, False)
        assert await local_only(f.link) is None
        assert (await cloud.claim(9, 0)).probes

    fleet(story)


def test_a_local_only_job_in_a_cloud_queue_falls(fleet):
    async def story(f):
        cloud, home = await f.start_worker("wa", PAID[0], local=False), await f.start_worker("wb", HOME)
        stays = await f.enqueue(3, SMOL, local_only=True)
        goes = await f.enqueue(1, SMOL)
        may_stay = await f.enqueue(1, AT_HOME, local_only=True)
        assert [d.id for d in (await cloud.claim(9, 0)).deliveries] == goes
        assert [d.id for d in (await home.claim(9, 0)).deliveries] == may_stay
        for job_id in stays:
            assert f.rq_places(job_id) == [("queue", "degrade")]
            fell = (await f.degrade()).fall
            assert (fell.reason, SMOL in fell.detail) == ("local_only", True)
            assert await replay_held(f.link, job_id) == "queued"
        assert await taken(f, cloud) == [], "replayed, it falls again"

    fleet(story)


def test_the_sweep_finds_jobs_that_local_only_keeps_in_a_queue(fleet):
    async def story(f):
        cloud = await f.start_worker("wa", PAID[0], local=False)
        (waits,) = await f.enqueue(1, SMOL)
        await set_local_only(f.link, True)
        assert await taken(f, cloud) == []
        _, jobs = await sweep(f.link, [SMOL], clean=False)
        assert [(job.id, job.cause) for job in jobs] == [(waits, "stranded")]

    fleet(story)


def test_a_lock_is_granted_to_the_first_caller(fleet):
    async def story(f):
        assert [await try_lock(f.link, "memory of box", 60) for _ in range(3)] == [True, False, False]
        assert await try_lock(f.link, "memory of tower", 60)
        assert 0 < f.store.pttl("of:lock:memory of box") <= 60_000

    fleet(story)
