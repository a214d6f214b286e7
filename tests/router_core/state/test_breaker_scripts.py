"""When a breaker opens, and how a closed one gets its slots back, in the whole fleet at once."""

from __future__ import annotations

import pytest

from openfall.router_core.state.breakers import (
    BreakerOverride,
    breaker_history,
    force_breaker,
    list_breakers,
)
from openfall.router_core.state.unreadable_values import list_unreadable
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from tests.router_core.state.breaker_steps import (
    AT_BOX,
    BOX,
    CLOSED,
    FAILURE,
    NEUTRAL,
    OK,
    OPEN,
    POLICY,
    SLOW,
    SMOL,
    TRIP,
    TWO,
    breaker,
    healed,
    opened,
)


@pytest.mark.parametrize(
    ("marks", "why"),
    [
        ([OK, *[FAILURE] * 5], "5 failures in a row (timeout)"),
        ([*[OK, FAILURE] * 5], "5 of 10 calls failed (timeout)"),
        ([OK, OK, *[SLOW] * 8], "8 of 10 calls were slow"),
        ([TRIP], "a failure that does not pass by itself (timeout)"),
    ],
    ids=["5 failures in a row", "half of 10 calls failed", "most of 10 calls were slow", "it cannot work"],
)
def test_a_breaker_opens_and_records_why(fleet, marks, why):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(len(marks) + 1)
        replies = await f.finish_calls(worker, *marks)
        assert [reply.opened_breaker for reply in replies] == [False] * (len(marks) - 1) + [True], (
            "at the last, not before"
        )
        record = await breaker(f)
        assert (record.state, record.epoch, record.why) == (OPEN, 1, why)
        assert record.cause == ("slow" if "slow" in why else "timeout")
        assert record.until == f.clock.now + 30
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
        f.clock.now += POLICY.window / 10  # another slot, which does not count those of another length
        replies = await f.finish_calls(after, OK, FAILURE)
        assert not replies[-1].opened_breaker, "1 of 2, not 5 of 10"

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
        assert ((await breaker(f)).epoch, (await breaker(f)).open_count) == (1, 1), "the open time is not extended"
        await healed(f, worker)
        for delivery in late[6:]:
            await f.finish_call(worker, delivery, FAILURE)
        assert ((await breaker(f)).state, (await breaker(f)).consecutive_failures) == (CLOSED, 0)

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
        assert (await breaker(f)).slow_starting
        await f.enqueue(20)
        claimed = []
        for _ in range(5):
            claimed.append(len((await worker.claim(20, 0)).deliveries))
            f.clock.now += POLICY.slow_start / 4
        assert claimed == [1, 1, 2, 2, 2], "of 8: one, a quarter, half, three quarters, all"
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


BLOCKS_OF_NEWER_VERSIONS = {
    "big/smol": "resting 7", "box/smol": "draining 1790000000000 20", "key:k1": "parked_until 9999999999999",
    "box/smol pause": "9999999999999", "cloud-only": "ticket 4711: the lawyers want it",
}  # fmt: skip


def test_a_block_of_a_newer_version_stays_and_keeps_no_call_of_this_version_away(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(1)
        f.store.hset("of:blocked", mapping=BLOCKS_OF_NEWER_VERSIONS)
        assert await f.claim(worker)
        assert f.store.hgetall("of:blocked") == {
            name.encode(): block.encode() for name, block in BLOCKS_OF_NEWER_VERSIONS.items()
        }
        assert await list_unreadable(f.link) == []

    fleet(story)


def test_an_open_breaker_keeps_calls_away_and_is_probed_though_its_block_is_of_a_newer_version(fleet):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        await f.enqueue(1)
        f.store.hset("of:blocked", BOX, "draining 20")
        claimed = await worker.claim(1, 0)
        assert claimed.deliveries == ()
        assert [probe.target for probe in claimed.probes] == [BOX]

    fleet(story)


@pytest.mark.parametrize(
    ("name", "block"),
    [("box/smol", "open 5 6"), ("box/smol", "slow_start 5 0"), ("box/smol", "resting"), ("box/smol cool", "resting 7")],
)
def test_a_block_that_no_version_writes_is_removed_and_noted(fleet, name, block):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await f.enqueue(1)
        f.store.hset("of:blocked", name, block)
        assert await f.claim(worker)
        assert f.store.hgetall("of:blocked") == {}
        assert [value.place for value in await list_unreadable(f.link)] == [f"of:blocked {name}"]

    fleet(story)
