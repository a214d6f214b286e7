"""The clock of Redis is set back, as NTP does after a start with a wrong one: nothing waits for as much longer."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.steps import Later
from openfall.router_core.state import keys, outbox
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.fleet_lock import try_lock
from openfall.router_core.state.memory_pressure import check_memory
from openfall.router_core.state.operator_switches import local_only, set_local_only
from openfall.router_core.state.reap_and_sweep import abandoned_jobs, reap, sweep
from openfall.router_core.state.unreadable_values import list_unreadable
from tests.router_core.state.breaker_steps import AT_BOX, breaker, opened
from tests.router_core.state.outbox_steps import put, waits
from tests.router_core.state.test_limits import BATCH, box, queues

JOB = "job-00001"
STEPS = pytest.mark.parametrize("seconds", [60, 3600, 86_400 * 30])


def set_back(f, seconds):
    f.clock.now -= seconds


async def notes(f):
    return [value.why for value in await list_unreadable(f.link)]


@STEPS
def test_the_job_of_a_dead_worker_is_taken_over_and_its_crash_counted(fleet, seconds):
    async def story(f):
        await f.accept()
        await f.claim(await f.worker("dead-one"))
        set_back(f, seconds)
        await f.worker("heir")
        await f.pass_time(LEASE_SECONDS + 1)
        assert await reap(f.link) == [(JOB, f.queue, "queued")]
        assert f.counter("crashes") == 1
        assert await notes(f) == [f"is {seconds} s ahead: the clock of Redis was set back"], "it is noted once"

    fleet(story)


@STEPS
@pytest.mark.parametrize("first", ["beat", "reap"])
def test_a_living_worker_keeps_its_call(fleet, seconds, first):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        set_back(f, seconds)
        if first == "reap":
            assert await reap(f.link) == []
        await f.pass_time(60, (worker, (delivery,)))
        assert await reap(f.link) == []
        assert f.counter("taken_over") == 0
        assert await f.settle(worker, delivery) == "settled"

    fleet(story)


@STEPS
def test_a_call_that_was_claimed_before_the_first_beat_keeps_its_lease(fleet, seconds):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        set_back(f, seconds)
        delivery = await f.claim(worker)
        assert await reap(f.link) == []
        assert await reap(f.link) == []
        assert await f.settle(worker, delivery) == "settled"

    fleet(story)


@STEPS
def test_a_back_off_is_no_longer_than_it_was(fleet, seconds):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker), Later("smol", 30))
        set_back(f, seconds)
        await worker.beat([])
        assert not (await worker.claim(1, 0)).deliveries
        await f.pass_time(31, (worker, ()))
        assert [d.id for d in (await worker.claim(1, 0)).deliveries] == [JOB]

    fleet(story)


@STEPS
def test_a_job_that_waits_is_examined_when_it_is_late(fleet, seconds):
    async def story(f):
        await f.worker()
        await f.accept(start_within_seconds=5, expires_after_seconds=86_400 * 60)
        set_back(f, seconds)
        await f.worker()
        assert (await sweep(f.link, (), clean=False))[1] == []
        await f.pass_time(6)
        assert [job.id for job in (await sweep(f.link, (), clean=False))[1]] == [JOB]

    fleet(story)


@STEPS
def test_an_open_breaker_gets_its_probe_in_time_and_the_switch_stays(fleet, seconds):
    async def story(f):
        worker = await f.start_worker("wa", AT_BOX)
        await opened(f, worker)
        await set_local_only(f.link, on=True, why="2026: no cloud")
        rest = (await breaker(f)).until - f.clock.now
        set_back(f, seconds)
        await worker.beat([])
        record = await breaker(f)
        assert record.until - f.clock.now == pytest.approx(rest)
        assert record.since <= f.clock.now
        assert not (await worker.claim(0, 0)).probes
        await f.pass_time(rest, (worker, ()))
        assert len((await worker.claim(0, 0)).probes) == 1
        assert await local_only(f.link) == "2026: no cloud"

    fleet(story)


@STEPS
def test_a_used_up_limit_of_a_provider_is_no_longer_used_up(fleet, seconds):
    async def story(f):
        worker = await f.start_worker("wa", *queues(box(requests_per_minute=2, burst=0.5)))
        await f.enqueue(2, BATCH)
        assert len((await worker.claim(2, 0)).deliveries) == 1
        set_back(f, seconds)
        await worker.beat([])
        assert len((await worker.claim(1, 0)).deliveries) == 1

    fleet(story)


@STEPS
def test_a_webhook_is_sent_when_it_was_due(fleet, seconds):
    async def story(f):
        f.clock.now += 20
        put(f)
        f.clock.now -= 20
        await f.worker()
        set_back(f, seconds)
        await f.worker()
        assert waits(f) == {"job:job-00001:done": 20.0}
        f.clock.now += 20
        assert len(await outbox.claim_entries(f.link, 8)) == 1

    fleet(story)


@STEPS
def test_the_job_of_a_caller_who_has_left_ends_and_a_gateway_that_is_gone_is_not_present(fleet, seconds):
    async def story(f):
        await f.accept()
        await f.worker()
        f.store.zadd("of:caller-leases", {JOB: int(f.clock.now * 1000) + 15_000})
        f.store.zadd("of:gateways", {"gateway-1": int(f.clock.now * 1000) + 3000})
        set_back(f, seconds)
        await f.pass_time(14)
        assert f.store.zrangebyscore("of:gateways", int(f.clock.now * 1000), "+inf") == []
        assert await abandoned_jobs(f.link) == []
        await f.pass_time(4)
        assert await abandoned_jobs(f.link) == [JOB]

    fleet(story)


@pytest.mark.parametrize("seconds", [1, 3.9])
def test_a_small_step_is_none(fleet, seconds):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker), Later("smol", 30))
        before = f.store.zrange("of:scheduled:gpu", 0, -1, withscores=True)
        set_back(f, seconds)
        await worker.beat([])
        assert f.store.zrange("of:scheduled:gpu", 0, -1, withscores=True) == before
        assert await notes(f) == []

    fleet(story)


@pytest.mark.parametrize("rest_ms", [120_000, 3_600_000, 86_400_000])
def test_a_lock_or_a_refusal_of_jobs_that_would_last_for_hours_is_none(fleet, rest_ms):
    async def story(f):
        for name in ("audit", "pressure", "flat plans", "budget-audit"):
            f.store.set(keys.LOCK + name, 1, px=rest_ms)
        f.store.set(keys.MEMORY_PRESSURE, "Redis uses 9 MiB of its 10 MiB of memory (maxmemory)", px=rest_ms)
        await check_memory(f.link, 0.9)
        assert f.store.get(keys.MEMORY_PRESSURE) is None
        assert await try_lock(f.link, "flat plans", 60)
        assert not await try_lock(f.link, "flat plans", 60)
        assert f.store.pttl(keys.LOCK + "pressure") <= 60_000

    fleet(story)
