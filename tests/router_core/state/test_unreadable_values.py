"""Every value in Redis, replaced by what another program could have written there: no script and no reader fails, and
every other job ends."""

from __future__ import annotations

import os
import re
import traceback

import pytest

from openfall.router_core.deciding.steps import Fall
from openfall.router_core.jobs.result import Status
from openfall.router_core.placement.use_by_hour import expected_minutes, hour_of_week, with_a_minute
from openfall.router_core.state.budget_book import audit_budgets
from openfall.router_core.state.errors import MemoryPressure
from openfall.router_core.state.external_calls import ExternalCall, report_external_call, start_external_call
from openfall.router_core.state.fleet_catalogs import fetch_workers
from openfall.router_core.state.fleet_lock import try_lock
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.held_jobs import drop_held, list_held
from openfall.router_core.state.inbox import list_inboxes
from openfall.router_core.state.keys import LOCK, UNFINISHED
from openfall.router_core.state.memory_pressure import check_memory
from openfall.router_core.state.model_use import fetch_use
from openfall.router_core.state.operator_switches import paused_queues
from openfall.router_core.state.reap_and_sweep import audit, sweep
from openfall.router_core.state.unreadable_values import list_unreadable
from openfall.router_core.vocabulary import HoldReason
from tests.router_core.state import corruption
from tests.router_core.state.damaged_fleet import CATALOG, JOBS, build, look, work

JOB = "job-00001"
OFFSETS, STEP = (range(13), 1) if os.environ.get("OPENFALL_EXPLORE") else (range(1), 4)
"""Each part of a key gets one damage, each offset another one; `make explore` tries all, the gate every fourth part."""


@pytest.mark.slow
@pytest.mark.parametrize("offset", OFFSETS)
def test_whatever_one_value_is_replaced_by_every_other_job_ends(fleet, offset):
    async def story(f):
        members = await build(f)
        dump = {key: (max(0, f.store.pttl(key)), f.store.dump(key)) for key in f.store.scan_iter(count=1000)}
        moment, broken = f.clock.now, {}
        for number, (key, part) in enumerate(_parts(f.store)[::STEP]):
            damages = list(corruption.damages(f.store, key, part))
            name, damage = damages[(number + offset) % len(damages)]
            damage()
            where = f"{key.decode()} {part.decode(errors='replace')}: {name}"
            if problem := await _problem(f, members, where):
                broken[where] = problem
            f.clock.now = moment
            restoring = f.store.pipeline(transaction=False).flushdb()
            for restored, (ttl, value) in dump.items():
                if value is not None:
                    restoring.restore(restored, ttl, value)
            restoring.execute()
        assert broken == {}

    fleet(story)


def test_a_job_whose_record_is_gone_is_held_as_unreadable_is_named_and_can_be_dropped(fleet):
    async def story(f):
        await f.accept(JOB)
        f.store.delete("of:job:" + JOB)
        await sweep(f.link, clean=False)
        await f.degrade()
        (held,) = [job async for job in list_held(f.link)]
        assert (held.id, held.reason, held.why) == (JOB, HoldReason.UNREADABLE, "its record is gone")
        assert [(value.place, value.why) for value in await list_unreadable(f.link)] == [
            (f"of:job:{JOB}", "its record is gone")
        ]
        assert f.counter("unreadable_jobs") == 1
        assert await drop_held(f.link, held)
        assert (await f.job_store.result(JOB)).status is Status.CANCELLED

    fleet(story)


def test_a_key_of_another_type_is_set_aside_by_the_command_that_needs_it(fleet):
    async def story(f):
        f.store.set("of:paused", "garbage")
        assert await paused_queues(f.link) == []
        assert f.store.get("of:set-aside:of:paused") == b"garbage"
        assert f.store.ttl("of:set-aside:of:paused") > 0
        (value,) = await audit(f.link)
        assert (value.place, value.why) == ("of:paused", "is a string, not a set")
        f.store.delete("of:lock:audit")
        assert await audit(f.link) == [], "it is named once"

    fleet(story)


@pytest.mark.parametrize("text", [b"\xff\xfe garbage", b"", b"Redis uses all of its memory"])
def test_a_refusal_of_jobs_that_has_no_end_refuses_none_and_is_removed(fleet, text):
    async def story(f):
        f.store.set("of:memory-pressure", text)
        await f.accept(JOB)
        assert (await fetch_status(f.link)).memory_pressure is None
        await check_memory(f.link, 0.9)
        assert f.store.get("of:memory-pressure") is None
        assert [value.why for value in await list_unreadable(f.link)] == ["has no end"]

    fleet(story)


def test_a_refusal_of_jobs_that_is_no_text_is_shown_with_what_can_be_read(fleet):
    async def story(f):
        f.store.set("of:memory-pressure", b"\xff full", px=60_000)
        with pytest.raises(MemoryPressure, match="\ufffd full"):
            await f.accept(JOB)

    fleet(story)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"rq:worker:\xff", b"", b"of:jobs"])
def test_a_worker_whose_name_cannot_be_read_is_left_out(fleet, name):
    async def story(f):
        await f.worker("wa")
        f.store.sadd("rq:workers", name)
        f.store.zadd("of:presence", {name: f.clock.now * 1000 + 60_000})
        assert [worker.name for worker in await fetch_workers(f.link)] == ["wa"]

    fleet(story)


@pytest.mark.parametrize("epoch", [b"\xff\xfe", b"", b"9" * 40])
def test_a_call_beside_the_queue_begins_whatever_the_epoch_of_a_breaker_is(fleet, epoch):
    async def story(f):
        f.store.hset("of:breaker:box/smol", "epoch", epoch)
        assert (await start_external_call(f.link, CATALOG, "box", "smol")).wait_seconds == 0
        f.store.hset("of:breaker:box/smol", "epoch", epoch)
        await report_external_call(f.link, CATALOG, ExternalCall(model="smol", backend="box", seconds=0.1))

    fleet(story)


@pytest.mark.parametrize("index", ["of:unfinished", "of:leases:box", "of:backends"])
def test_an_index_that_was_damaged_is_written_again_from_the_records(fleet, index):
    async def story(f):
        await f.accept(JOB)
        worker = await f.worker()
        delivery = await f.claim(worker)
        before = f.store.dump(index) and f.store.type(index)
        f.store.set(index, "garbage")
        await sweep(f.link, clean=False)
        await worker.beat([delivery])
        f.store.delete("of:lock:audit")
        await audit(f.link)
        assert f.store.type(index) == before
        assert await f.settle(worker, delivery) == "settled"

    fleet(story)


def _parts(store):
    """Each part of one key of each kind: the keys of one kind are written by the same code. The records of jobs in
    different states are different kinds."""
    kinds = {}
    for key in sorted(store.scan_iter(count=1000)):
        is_record = key.startswith(b"of:job:") and b"wait-" not in key and b"fail-" not in key
        kinds[key if is_record else re.sub(rb"[a-z]+-[\w-]*\d.*|(?<=gpu)\..*", b"ID", key)] = key
    return [(key, part) for key in sorted(kinds.values()) for part in corruption.parts(store, key)]


async def _problem(f, members, where):
    """What goes wrong after a damage: an error, or jobs that do not end."""
    try:
        await look(f)
        await work(f, *members)
        await look(f)
    except Exception as error:  # noqa: BLE001 - the report names the damage
        return "".join(traceback.format_exception(error)[-3:])
    return [job for job in [*JOBS, "new-000002"] if not _has_ended(f, job, damaged=job in where)]


def _has_ended(f, job, *, damaged):
    """A job has its result. A damaged one may be held, or keep a word that a newer openfall may have written."""
    state = f.record_field(job, "state")
    if state == "done" or f.store.exists("of:result:" + job):
        return True
    return damaged and (state == "held" or re.fullmatch("[a-z]+", state or "-") is not None)


def test_a_worker_that_was_killed_leaves_rqs_lists_when_rq_has_forgotten_it(fleet):
    async def story(f):
        await f.worker("killed")
        await f.worker("alive")
        f.store.delete("rq:worker:killed")
        await audit(f.link)
        assert f.store.smembers("rq:workers") == {b"rq:worker:alive"}
        assert f.store.smembers(f"rq:workers:{f.queue}") == {b"rq:worker:alive"}

    fleet(story)


def test_an_inbox_without_a_reader_ends_with_the_time_of_its_last_entry(fleet):
    async def story(f):
        worker = await f.worker()
        for job in (JOB, "job-00002"):
            await f.accept(job, inbox="bot", keep_unread_seconds=60)
            await f.settle(worker, await f.claim(worker))
        assert f.store.xlen("of:inbox:bot") == 2
        assert 0 < f.store.ttl("of:inbox:bot") <= 60

    fleet(story)


def test_the_inboxes_are_listed_from_an_index_which_forgets_those_whose_entries_have_expired(fleet):
    async def story(f):
        worker = await f.worker()
        for number, (inbox, keep_seconds) in enumerate((("bot", 3600), ("bot", 60), ("short", 60), ("read", 3600))):
            await f.accept(f"job-0000{number}", inbox=inbox, keep_unread_seconds=keep_seconds)
            await f.settle(worker, await f.claim(worker))
        f.store.delete("of:inbox:read")
        assert [(each.name, each.entries) for each in await list_inboxes(f.link)] == [("bot", 2), ("short", 1)]
        await f.pass_time(600)
        await f.accept("job-00009", inbox="late")
        await f.settle(await f.worker(), await f.claim(worker))
        assert f.store.zrange("of:inboxes", 0, -1) == [b"bot", b"read", b"late"], "an entry of bot is kept for an hour"

    fleet(story)


def test_a_reason_of_a_newer_openfall_is_carried_and_shown(fleet):
    async def story(f):
        await f.accept(JOB)
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "away"))
        f.store.hset("of:job:" + JOB, "fell_for", "moonlight")
        await f.degrade()
        (held,) = [job async for job in list_held(f.link)]
        assert (held.reason, f"{held.reason}") == ("moonlight", "moonlight")
        assert (await f.job_store.record(JOB)).held_for == "moonlight"

    fleet(story)


def test_a_lock_without_an_end_stops_no_task_of_the_fleet(fleet):
    async def story(f):
        await f.accept(JOB)
        for name in ("audit", "pressure", "flat plans", "budget-audit"):
            f.store.set(LOCK + name, "x")
        f.store.delete(UNFINISHED)
        await audit(f.link)
        assert f.store.zscore(UNFINISHED, JOB) is not None
        await check_memory(f.link, 0.9)
        await audit_budgets(f.link)
        assert await try_lock(f.link, "flat plans", 60)
        assert not await try_lock(f.link, "flat plans", 60)
        assert all(f.store.pttl(LOCK + name) > 0 for name in ("audit", "pressure", "flat plans", "budget-audit"))

    fleet(story)


def test_a_list_of_ended_jobs_that_was_damaged_is_written_again_and_keeps_no_job_that_is_gone(fleet):
    async def story(f):
        for job in (JOB, "job-00002"):
            await f.accept(job)
            await f.job_store.cancel(job)
        f.store.set("of:jobs", "garbage")
        f.store.delete("of:job:" + JOB)
        f.store.hset("of:audit", "listed", "1.5")
        await audit(f.link)
        assert f.store.zrange("of:jobs:cancelled", 0, -1) == [b"job-00002"]
        f.store.set("of:jobs:cancelled", "garbage")
        for _ in range(2):
            f.store.delete("of:lock:audit")
            await audit(f.link)
        assert f.store.zrange("of:jobs:cancelled", 0, -1) == [b"job-00002"]

    fleet(story)


@pytest.mark.parametrize("text", [f"1 -{'9' * 400}", f"1 {'9' * 400}", "nan 5", "inf 5", "-1 5", "zzz"])
def test_a_use_of_a_model_that_cannot_be_right_counts_as_none(fleet, text):
    async def story(f):
        f.store.hset("of:model-use:smol", mapping={str(hour_of_week(f.clock.now)): text})
        (use,) = (await fetch_use(f.link, ["smol"])).values()
        assert expected_minutes(use, f.clock.now) == 0
        assert with_a_minute(use, f.clock.now).minutes == 1

    fleet(story)
