"""When a model is left alone, how it comes back, and that the whole fleet knows of it at once."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.policies import BreakerPolicy
from openfall.router_core.state.breakers import (
    BreakerOverride,
    ProbeResult,
    breaker_history,
    force_breaker,
    list_breakers,
    report_probe,
    reset_breaker,
)
from openfall.router_core.state.settlement import MAX_BREAKER_HISTORY
from openfall.router_core.state.subscription import PROBE_GRACE_SECONDS, BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import BreakerState, CallSignal

OK, SLOW, FAILURE, NEUTRAL, TRIP = CallSignal
OPEN, HALF_OPEN, CLOSED = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED
POLICY = BreakerPolicy()
SMOL = "gpu.smol.background"
AT_BOX = QueueSubscription(SMOL, (BackendCapacity("box", 8),), probe_timeout_seconds=30)
TWO = QueueSubscription(SMOL, (BackendCapacity("box", 8), BackendCapacity("big", 4)))
BOX = "box/smol"


async def breaker(f, target=BOX):
    return {readout.target: readout for readout in await list_breakers(f.link)}[target]


async def opened(f, worker, count=5):
    await f.enqueue(count)
    assert [actual.opened_breaker for actual in await f.finish_calls(worker, *[FAILURE] * count)][-1]


async def probed(f, probe, mark=OK, wait=0.0, chance=0.5):
    return await report_probe(f.link, probe, ProbeResult(mark, "503", wait, chance), POLICY)


async def healed(f, worker, target=BOX):
    """Its open time passes, and its probes are answered."""
    f.clock.now = max(f.clock.now, (await breaker(f, target)).until or 0)
    for _ in range(POLICY.probe_successes):
        (probe,) = (await worker.claim(0, 0)).probes
        state = await probed(f, probe)
    assert state == CLOSED


@pytest.mark.parametrize(
    ("marks", "why"),
    [
        ([OK, *[FAILURE] * 5], "5 failures in a row"),
        ([*[OK, FAILURE] * 5], "5 of 10 calls failed"),
        ([OK, OK, *[SLOW] * 8], "8 of 10 calls were slow"),
        ([TRIP], "it cannot recover before it is repaired"),
    ],
    ids=["5 failures in a row", "half of 10 calls failed", "most of 10 calls were slow", "it cannot work"],
)
def test_a_breaker_opens_and_says_why(fleet, marks, why):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(len(marks) + 1)
        actual = await f.finish_calls(worker, *marks)
        assert [settled.opened_breaker for settled in actual] == [False] * (len(marks) - 1) + [True], (
            "at the last, not before"
        )
        readout = await breaker(f)
        assert (readout.state, readout.epoch, readout.why) == (OPEN, 1, f"{why}: timeout")
        assert readout.until == f.clock.now + 30
        assert (await worker.claim(1, 0)).deliveries == ()

    fleet(story)


@pytest.mark.parametrize(
    "marks",
    [[*[FAILURE] * 4, OK, *[FAILURE] * 4], [*[OK] * 6, *[FAILURE, OK, OK] * 2], [NEUTRAL] * 20, [SLOW] * 9],
    ids=["4 in a row and 4 more", "less than half", "nothing that is its fault", "9 slow ones are not 10"],
)
def test_a_breaker_stays_closed(fleet, marks):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(len(marks) + 1)
        await f.finish_calls(worker, *marks)
        assert await f.claim(worker)

    fleet(story)


def test_calls_outside_the_window_do_not_count_and_are_deleted(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(200)
        await f.finish_calls(worker, *[FAILURE, FAILURE, OK] * 3)
        f.clock.now += POLICY.window + 1
        await f.finish_calls(worker, *[OK, FAILURE] * 4)
        for _ in range(100):  # the window's slots, ten times over; nothing but good calls
            f.clock.now += POLICY.window / 10
            await f.finish_calls(worker, OK)
        assert f.store.hlen("of:breaker-window:" + BOX) <= 10 * 3
        assert (await breaker(f)).state == CLOSED

    fleet(story)


def test_slots_of_a_window_of_another_length_do_not_count(fleet):
    async def story(f):
        before = await f.start_worker("before", AT_BOX, policy=POLICY.model_copy(update={"window": 10.0}))
        after = await f.start_worker("after", AT_BOX)
        await f.enqueue(11)
        await f.finish_calls(before, *[FAILURE, OK] * 4)
        f.clock.now += POLICY.window / 10  # another slot, in which what another rule counted is forgotten
        actual = await f.finish_calls(after, OK, FAILURE)
        assert not actual[-1].opened_breaker, "1 of 2, not 5 of 10"

    fleet(story)


def test_a_target_with_an_open_breaker_is_not_called_and_another_backend_is(fleet):
    async def story(f):
        worker = await f.start_worker("wa", TWO)
        await opened(f, worker)
        waiting = await f.enqueue(5)
        claim = await worker.claim(5, 0)
        assert [(d.id, d.backend) for d in claim.deliveries] == [(job_id, "big") for job_id in waiting[:4]]
        assert claim.more_waiting, "a slot is all that the last one waits for"
        assert f.rq_places(waiting[4]) == [("queue", SMOL)], "it waits where it was"

    fleet(story)


def test_the_next_claim_sees_the_open_breaker(fleet):
    async def story(f):
        first, second = await f.start_worker("first", AT_BOX), await f.start_worker("second", AT_BOX)
        await f.enqueue(3)
        assert len((await second.claim(2, 0)).deliveries) == 2
        await opened(f, first)
        await f.enqueue(3)
        claim = await second.claim(4, 2)
        assert (claim.deliveries, claim.probes) == ((), ())
        assert claim.next_due_at == (await breaker(f)).until, "when a probe is due"

    fleet(story)


def test_reports_of_calls_of_an_earlier_epoch_are_ignored(fleet):
    async def story(f):
        worker = await f.start_worker("wa", QueueSubscription(SMOL, (BackendCapacity("box", 40),)))
        await f.enqueue(20)
        late = (await worker.claim(20, 0)).deliveries
        await opened(f, worker)
        for delivery in late[:6]:
            assert not (await f.finish_call(worker, delivery, FAILURE)).opened_breaker
        assert ((await breaker(f)).epoch, (await breaker(f)).open_count) == (1, 1), "nor is it open for longer"
        await healed(f, worker)
        for delivery in late[6:]:
            await f.finish_call(worker, delivery, FAILURE)
        assert ((await breaker(f)).state, (await breaker(f)).consecutive_failures) == (CLOSED, 0)

    fleet(story)


def test_a_probe_is_handed_out_once_even_with_empty_queues(fleet):
    async def story(f):
        workers = [await f.start_worker(f"worker-{n}", AT_BOX) for n in range(5)]
        await opened(f, workers[0])
        f.clock.now += 29.999
        assert [(await worker.claim(4, 0)).probes for worker in workers] == [()] * 5, "it is not time yet"
        f.clock.now += 0.001
        claims = [await worker.claim(4, 0) for worker in workers]
        ((probe,),) = [claim.probes for claim in claims if claim.probes]
        assert (probe.target, probe.backend, probe.model) == (BOX, "box", "smol")
        assert (await breaker(f)).state == HALF_OPEN
        assert {claim.next_due_at for claim in claims[1:]} == {
            f.clock.now + AT_BOX.probe_timeout_seconds + PROBE_GRACE_SECONDS
        }, "its lease"

    fleet(story)


def test_a_worker_without_a_free_slot_probes_too(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        await healed(f, worker)  # which claims nothing
        assert [change.after for change in await breaker_history(f.link)] == [CLOSED, HALF_OPEN, OPEN]

    fleet(story)


def test_a_lost_probe_is_handed_out_again_and_its_late_result_ignored(fleet):
    async def story(f):
        lost, heir = await f.start_worker("lost", AT_BOX), await f.start_worker("heir", AT_BOX)
        await opened(f, lost)
        f.clock.now += 30
        (probe,) = (await lost.claim(1, 0)).probes
        f.clock.now += AT_BOX.probe_timeout_seconds + PROBE_GRACE_SECONDS - 0.001
        assert (await heir.claim(1, 0)).probes == ()
        f.clock.now += 0.001
        (second,) = (await heir.claim(1, 0)).probes
        assert await probed(f, probe, FAILURE) == HALF_OPEN, "nobody listens to it"
        assert await probed(f, second) == HALF_OPEN
        assert await probed(f, second) == HALF_OPEN, "the same answer twice is one"
        (third,) = (await lost.claim(1, 0)).probes
        assert await probed(f, third) == CLOSED

    fleet(story)


def test_a_neutral_probe_is_sent_again_when_a_429_allows_it(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        f.clock.now += 30
        (probe,) = (await worker.claim(1, 0)).probes
        assert await probed(f, probe, NEUTRAL, wait=7) == HALF_OPEN
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), f.clock.now + 7)
        f.clock.now += 7
        assert (await worker.claim(1, 0)).probes

    fleet(story)


def test_each_failed_probe_doubles_the_open_time_up_to_the_maximum(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        lasted = []
        for chance in (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 1.0):
            f.clock.now = (await breaker(f)).until
            (probe,) = (await worker.claim(1, 0)).probes
            assert await probed(f, probe, FAILURE, chance=chance) == OPEN
            lasted.append((await breaker(f)).until - f.clock.now)
        assert lasted == [60, 120, 240, 480, 600, 600, 480, 720], "and a fifth less or more by chance"

    fleet(story)


@pytest.mark.parametrize(("healthy_for", "lasts"), [(300, 60), (301, 30)])
def test_the_open_count_is_reset_after_five_healthy_minutes(fleet, healthy_for, lasts):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        await healed(f, worker)
        f.clock.now += healthy_for
        await opened(f, worker)
        assert (await breaker(f)).until - f.clock.now == lasts

    fleet(story)


def test_the_slots_of_a_closed_breaker_come_back_step_by_step(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        await healed(f, worker)
        assert (await breaker(f)).ramping
        await f.enqueue(20)
        got = []
        for _ in range(5):
            got.append(len((await worker.claim(20, 0)).deliveries))
            f.clock.now += POLICY.slow_start / 4
        assert got == [1, 1, 2, 2, 2], "of 8: one, a quarter, half, three quarters, all"
        assert f.store.hgetall("of:blocked") == {}, "and nothing is left of it"

    fleet(story)


def test_an_ended_ramp_or_cooldown_is_deleted_even_without_jobs(fleet):
    async def story(f):
        worker = await f.start_worker("wa", TWO)
        await f.enqueue(1)
        await f.finish_calls(worker, NEUTRAL, credential_signal="cooldown", cooldown_seconds=3.0)
        await force_breaker(f.link, "big/smol", BreakerOverride(OPEN, "a test", 1.0), POLICY)
        f.clock.now += 1
        await healed(f, worker, "big/smol")
        f.clock.now += POLICY.slow_start
        assert (await worker.claim(1, 0)).next_due_at == 0, "or its workers would look again and again"
        assert f.store.hgetall("of:blocked") == {}

    fleet(story)


def test_a_breaker_forced_open_is_neither_called_nor_probed_before_its_end(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(1)
        assert (
            await force_breaker(f.link, BOX, BreakerOverride(OPEN, "its card is being changed", 3600), POLICY) == OPEN
        )
        assert (
            await force_breaker(f.link, BOX, BreakerOverride(OPEN, "its card is being changed", 3600), POLICY) == OPEN
        ), "sent again"
        readout = await breaker(f)
        assert (readout.forced, readout.forced_until, readout.epoch) == ("open", f.clock.now + 3600, 1)
        f.clock.now += 3599
        assert ((claim := await worker.claim(1, 0)).deliveries, claim.probes) == ((), ())
        f.clock.now += 1
        assert (await worker.claim(1, 0)).probes, "a probe finds out"

    fleet(story)


def test_a_breaker_forced_open_without_an_end_stays_open_until_the_reset(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await force_breaker(f.link, BOX, BreakerOverride(OPEN, "sold"), POLICY)
        f.clock.now += 1e8
        claim = await worker.claim(1, 0)
        assert (claim.probes, claim.next_due_at) == ((), 0)
        assert (await breaker(f)).forced_until is None
        assert await reset_breaker(f.link, BOX, POLICY) == OPEN
        assert (await worker.claim(1, 0)).probes, "it is probed at once"

    fleet(story)


def test_a_breaker_forced_closed_is_called_despite_failures_until_its_end(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        assert await force_breaker(f.link, BOX, BreakerOverride(CLOSED, "I know better", 60), POLICY) == CLOSED
        await f.enqueue(22)
        actual = await f.finish_calls(worker, *[FAILURE] * 20)
        assert not any(settled.opened_breaker for settled in actual)
        f.clock.now += 60
        assert (await f.finish_calls(worker, FAILURE))[0].opened_breaker

    fleet(story)


def test_an_open_breaker_survives_a_crash_of_the_server(server, own_fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        before = await list_breakers(f.link), await breaker_history(f.link)
        server.kill()
        server.start()
        await f.enqueue(1)
        claim = await worker.claim(1, 0)
        assert (claim.deliveries, claim.next_due_at) == ((), before[0][0].until)
        assert (await list_breakers(f.link), await breaker_history(f.link)) == before
        await healed(f, worker)
        assert await f.claim(worker)

    own_fleet(story)


def test_only_the_last_changes_of_breakers_are_kept(fleet):
    async def story(f):
        for number in range(MAX_BREAKER_HISTORY + 1):
            state = OPEN if number % 2 == 0 else CLOSED
            await force_breaker(f.link, BOX, BreakerOverride(state, f"change {number}"), POLICY)
        assert f.store.llen("of:breaker-history") == MAX_BREAKER_HISTORY
        changes = await breaker_history(f.link, MAX_BREAKER_HISTORY + 1)
        assert (changes[0].why, changes[-1].why) == (f"change {MAX_BREAKER_HISTORY}", "change 1")

    fleet(story)
