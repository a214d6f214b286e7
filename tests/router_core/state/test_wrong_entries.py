"""An entry that an index, a registry or a lease should not have costs no job but its own, and does not stay."""

from __future__ import annotations

import pytest

from openfall.router_core.degrading.incident_end import QUIET_SECONDS
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.budget_book import audit_budgets
from openfall.router_core.state.caller_leases import RETURN_SECONDS
from openfall.router_core.state.external_calls import start_external_call
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held
from openfall.router_core.state.incidents import close_incident
from openfall.router_core.state.outbox import claim_entries
from openfall.router_core.state.reap_and_sweep import abandoned_jobs, reap, sweep
from openfall.router_core.state.stored_files import removable_data
from openfall.router_core.state.unreadable_values import list_unreadable
from openfall.router_core.vocabulary import Urgency
from tests.incidents import open_incident
from tests.router_core.state import job_states
from tests.router_core.state.damaged_fleet import CATALOG
from tests.router_core.state.job_states import JOB, QUEUE
from tests.router_core.state.test_audit_of_indexes import whole_audit

GARBAGE = b"\xff\xfe garbage"
FOREVER = float("inf")
OTHER = "job-00009"


async def notes(f):
    return [(value.place, value.why) for value in await list_unreadable(f.link)]


async def finish_another(f):
    """A second job has its answer."""
    await f.accept(OTHER, queue="gpu.large.background")
    worker = await f.worker("other", queues=("gpu.large.background",), backend="tower")
    await f.settle(worker, await f.claim(worker))


@pytest.mark.parametrize("token", ["", ":old"])
@pytest.mark.parametrize(
    ("reach", "registry", "state"),
    [
        (job_states.started, f"rq:wip:{QUEUE}", "started"),
        (job_states.scheduled, f"rq:scheduled:{QUEUE}", "scheduled"),
        (job_states.held, "rq:deferred:degrade", "held"),
    ],
)
def test_a_registry_keeps_no_job_that_is_in_another_state(fleet, reach, registry, state, token):
    async def story(f):
        await reach(f)
        await finish_another(f)
        right = f.store.zrange(registry, 0, -1)
        f.store.zadd(registry, {OTHER + token: 1, f"{JOB}:old": 1} if state == "started" else {OTHER + token: 1})
        removed = {why for place, why in await whole_audit(f) if place == registry}
        assert f"names a job that is not {state} there: {OTHER}{token}" in removed
        assert f.store.zrange(registry, 0, -1) == right

    fleet(story)


def test_a_registry_keeps_a_job_in_a_state_of_a_newer_openfall(fleet):
    async def story(f):
        await job_states.held(f)
        f.store.hset("of:job:" + JOB, "state", "hibernating")
        await whole_audit(f)
        assert f.store.zrange("rq:deferred:degrade", 0, -1) == [JOB.encode()]

    fleet(story)


@pytest.mark.parametrize("damage", [GARBAGE, b"", b"another"])
def test_a_call_whose_lease_was_overwritten_in_its_record_counts_only_once(fleet, damage):
    async def story(f):
        await job_states.started(f)
        f.store.hset("of:job:" + JOB, "lease", damage)
        await whole_audit(f)
        assert f.store.zcard(f"rq:wip:{QUEUE}") == (1 if damage else 0)
        assert f.store.zcard("of:leases:box") == (1 if damage else 0)

    fleet(story)


@pytest.mark.parametrize("index", ["of:scheduled:gpu", "of:suspects:gpu", "of:held-later"])
def test_an_index_of_waiting_jobs_keeps_no_other_job_and_lets_no_worker_claim_at_once(fleet, index):
    async def story(f):
        await job_states.queued(f)
        await finish_another(f)
        f.store.zadd(index, {OTHER: FOREVER, "nothing": FOREVER, GARBAGE: FOREVER, JOB: FOREVER})
        worker = await f.worker("idle", queues=("gpu.none.background",))
        assert (await worker.claim(1, 0)).next_due_at == 0
        assert {place for place, _ in await whole_audit(f)} == {index}
        assert f.store.zcard(index) == 0

    fleet(story)


@pytest.mark.parametrize("score", [17e14, FOREVER])
def test_a_suspect_that_is_due_too_late_runs(fleet, score):
    async def story(f):
        await job_states.suspected(f)
        f.store.zadd("of:suspects:gpu", {JOB: score})
        await whole_audit(f)
        assert [delivery.id for delivery in (await (await f.worker("third")).claim(1, 0)).deliveries] == [JOB]

    fleet(story)


def test_a_failed_job_that_ran_again_and_was_answered_is_not_among_the_failed_ones(fleet):
    async def story(f):
        await job_states.finished(f)
        f.store.zadd("of:jobs:failed", {JOB: 1})
        await whole_audit(f)
        assert f.store.zcard("of:jobs:failed") == 0

    fleet(story)


@pytest.mark.parametrize("score", [1, FOREVER])
def test_a_job_that_has_ended_and_a_name_of_no_job_leave_the_index_of_unfinished_ones(fleet, score):
    async def story(f):
        await job_states.finished(f)
        f.store.zadd("of:unfinished", {JOB: score, "nothing": score, GARBAGE: score})
        await sweep(f.link, clean=False)
        assert f.store.zcard("of:unfinished") == 0
        assert (await f.job_store.result(JOB)).status is Status.ANSWERED
        assert (await f.job_store.record(JOB)).state == "done"

    fleet(story)


@pytest.mark.parametrize("score", [-7, 0, 17e14, FOREVER])
@pytest.mark.parametrize("index", ["of:held:smol", "of:held-later"])
def test_a_held_job_with_any_score_is_released(fleet, index, score):
    async def story(f):
        await job_states.held(f)
        f.store.delete("of:held:smol")
        f.store.zadd(index, {JOB: score})
        await whole_audit(f)
        assert await release_held(f.link, [ReleaseBudget("smol", "gpu", 8, tuple(Urgency))], 8) == [(JOB, QUEUE)]

    fleet(story)


@pytest.mark.parametrize("score", [-7, 1, FOREVER])
def test_a_job_is_listed_at_the_moment_of_its_acceptance(fleet, score):
    async def story(f):
        await job_states.queued(f)
        before = f.store.zscore("of:jobs", JOB)
        f.store.zadd("of:jobs", {JOB: score})
        assert await whole_audit(f) == []
        assert f.store.zscore("of:jobs", JOB) == before

    fleet(story)


@pytest.mark.parametrize("stray", [GARBAGE, "nothing", OTHER])
def test_a_name_among_the_released_jobs_keeps_no_incident_open(fleet, stray):
    async def story(f):
        await finish_another(f)
        incident = open_incident(f.store, f.clock.now)
        f.store.zadd("of:released:smol", {stray: 1})
        f.clock.now += QUIET_SECONDS
        assert await close_incident(f.link, "outage", ("smol",)) == incident

    fleet(story)


@pytest.mark.parametrize("score", [9e15, FOREVER])
def test_a_dead_worker_whose_presence_and_lease_end_too_late_is_noticed_in_time(fleet, score):
    async def story(f):
        await f.accept(JOB)
        await f.claim(await f.worker("dead"))
        for key in ("of:presence", "of:leases:box"):
            f.store.zadd(key, dict.fromkeys(f.store.zrange(key, 0, -1), score))
        assert len(await whole_audit(f)) == 2
        await f.pass_time(LEASE_SECONDS + 6)
        assert await reap(f.link) == [(JOB, QUEUE, "queued")]
        assert f.counter("crashes") == 1

    fleet(story)


@pytest.mark.parametrize("moment", ["1", "1764", "0"])
def test_a_last_beat_of_long_ago_keeps_no_dead_worker_alive(fleet, moment):
    async def story(f):
        await f.accept(JOB)
        await f.claim(await f.worker("dead"))
        f.store.set("of:last-beat", moment)
        await f.worker("alive")
        await f.pass_time(LEASE_SECONDS + 6)
        assert await reap(f.link) == [(JOB, QUEUE, "queued")]
        assert f.counter("crashes") == 1

    fleet(story)


def test_a_count_of_waiting_jobs_that_do_not_exist_refuses_no_job(fleet):
    async def story(f):
        await f.accept(JOB)
        f.store.hset(f"of:listed:{QUEUE}", "", 1_000_000)
        await sweep(f.link, clean=False)
        await f.accept("job-00002", max_queued=10)
        assert f.store.hgetall(f"of:listed:{QUEUE}") == {b"tests": b"*"}

    fleet(story)


@pytest.mark.parametrize("key", ["of:limits:box", "of:switches", "of:listed"])
def test_a_field_that_no_script_writes_again_is_noted_once(fleet, key):
    async def story(f):
        place, fields = {
            "of:limits:box": ("of:limits:box", {GARBAGE: GARBAGE}),
            "of:switches": ("of:switches", {b"paused " + GARBAGE: b""}),
            "of:listed": (f"of:listed:{QUEUE}", {b"": GARBAGE}),
        }[key]
        await f.accept(JOB)
        f.store.hset(place, mapping=fields)
        for number in range(3):
            await whole_audit(f)
            await start_external_call(f.link, CATALOG, "box", "smol")
            await f.accept(f"job-1000{number}")
            await sweep(f.link, clean=False)
        assert [place for place, _ in await notes(f)] == [place]
        assert f.store.smembers("of:paused") == set()

    fleet(story)


def test_sums_of_a_budget_that_no_call_counts_again_are_noted_once(fleet):
    async def story(f):
        f.store.hset("of:budget-sums", "house:2026-11", GARBAGE)
        f.store.zadd("of:budgets", {"house:2026-11": f.clock.now * 1000 - 1})
        for _ in range(3):
            f.store.delete("of:lock:budget-audit")
            await audit_budgets(f.link)
        assert await notes(f) == [("of:budget-sums house:2026-11", "cannot be read")]

    fleet(story)


@pytest.mark.parametrize("entry", [GARBAGE, b"", b"two words"])
def test_a_name_of_no_entry_leaves_the_outbox_and_is_noted_once(fleet, entry):
    async def story(f):
        f.store.zadd("of:outbox", {entry: 1, "job:job-00001:done": 2, "moon:x": 3})
        assert [claimed.entry for claimed in await claim_entries(f.link, 8)] == ["job:job-00001:done", "moon:x"]
        f.clock.now += 100
        assert len(await claim_entries(f.link, 8)) == 2
        assert [place for place, _ in await notes(f)] == ["of:outbox"]

    fleet(story)


def test_an_entry_of_the_outbox_is_put_off_for_a_day_at_most(fleet):
    async def story(f):
        f.store.zadd("of:outbox", {"job:job-00001:done": FOREVER})
        assert await claim_entries(f.link, 8) == []
        f.clock.now += 86_401
        assert [claimed.entry for claimed in await claim_entries(f.link, 8)] == ["job:job-00001:done"]

    fleet(story)


def test_the_job_of_a_caller_whose_lease_ends_too_late_ends_two_minutes_later(fleet):
    async def story(f):
        await f.accept(JOB)
        f.store.zadd("of:caller-leases", {JOB: FOREVER, "nothing": FOREVER})
        worker = await f.worker()
        assert await abandoned_jobs(f.link) == []
        await f.pass_time(RETURN_SECONDS + 1, (worker, ()))
        assert await abandoned_jobs(f.link) == [JOB]
        assert f.store.zrange("of:caller-leases", 0, -1) == [JOB.encode()]

    fleet(story)


def test_names_of_no_file_do_not_stand_before_the_files_whose_data_is_removed(fleet):
    async def story(f):
        f.store.zadd("of:file-data:d1", {b"\xff%d" % n: n for n in range(100)})
        f.store.zadd("of:file-data:d1", {"file-1": 200})
        assert await removable_data(f.link, "d1", f.clock.now) == []
        assert await removable_data(f.link, "d1", f.clock.now) == ["file-1"]

    fleet(story)


def test_what_can_be_no_name_leaves_its_set(fleet):
    async def story(f):
        await f.accept(JOB)
        await f.worker("wa")
        sets = {
            "rq:queues": {b"rq:queue:" + QUEUE.encode()},
            f"rq:workers:{QUEUE}": {b"rq:worker:wa"},
            "rq:workers": {b"rq:worker:wa"},
            "of:breakers": {b"box/large"},
            "of:backends": {b"box"},
        }
        f.store.hset("of:blocked", "box/large", "open 1")  # its breaker was overwritten
        f.store.sadd("of:breakers", "box/large")
        for key in sets:
            f.store.sadd(key, GARBAGE, b"", b"of:jobs")
        await whole_audit(f)
        assert {key: f.store.smembers(key) for key in sets} == sets

    fleet(story)


@pytest.mark.parametrize("queue", [GARBAGE, b"", b"gpu.smol.backgr"])
def test_a_job_of_plain_rq_goes_back_to_the_queue_that_rq_knows(fleet, queue):
    async def story(f):
        await f.accept(JOB)
        f.store.hset("rq:job:plain", mapping={"origin": QUEUE, "data": "x"})
        f.store.zadd("of:rq-jobs", {"plain": 1})
        f.store.hset("of:rq-job-queues", "plain", queue)
        await reap(f.link)
        assert f.store.lrange(f"rq:queue:{QUEUE}", 0, 0) == [b"plain"]

    fleet(story)
