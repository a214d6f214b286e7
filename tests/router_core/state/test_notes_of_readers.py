"""A value that a reader of openfall cannot decode is counted and listed, beside what the scripts set aside."""

from __future__ import annotations

from contextlib import suppress

import pytest
import redis

from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.state import (
    audit_log,
    backend_reports,
    batches,
    breakers,
    cards,
    client_keys,
    depth_history,
    incidents,
    ledger,
    metric_counts,
    model_use,
    outbox,
    page_sessions,
    refused_requests,
    statistics,
    stored_files,
    stored_responses,
    unexpected_spend_days,
)
from openfall.router_core.state.decoding import read_json, read_moment, read_number, read_object, read_text
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.inbox import peek, read_entry_result, read_reply_to
from openfall.router_core.state.job_records import fetch_results
from openfall.router_core.state.jobs import JobStore
from openfall.router_core.state.operator_switches import local_only, paused_queues
from openfall.router_core.state.recent_jobs import JobFilter, list_jobs
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.unreadable_notes import MAX_PLACES, REPEAT_SECONDS, UnreadableNotes, note_unreadable
from openfall.router_core.state.unreadable_values import list_unreadable

GARBAGE = b"\xff\xfe the secret"
DAY = "2026-11-21"
DAY_BEGAN = 1_795_219_200.0


async def read_inbox(link):
    return [entry async for entry in peek(link, "bot")]


async def read_inbox_results(link):
    for entry in await read_inbox(link):
        with suppress(UnreadableEnvelope):
            read_entry_result(link, "bot", entry)
        read_reply_to(link, "bot", entry)


async def read_conversation(link):
    with pytest.raises(stored_responses.UnreadConversation, match="unreadable"):
        await stored_responses.fetch_input(link, "r1", 1000)


async def read_webhook(link):
    with pytest.raises(UnreadableEnvelope):
        await outbox.read_notification(link, outbox.JobEntry("j1", "degraded"))


async def read_falls(link):
    return [fall async for fall in incidents.read_falls(link)]


READERS = {
    "of:client-keys": ("hash", client_keys.fetch_keys),
    "of:page-session:*": ("string", lambda link: page_sessions.session_key(link, "cookie", client_keys.EMPTY)),
    "of:file:f1": ("string", lambda link: stored_files.fetch_file(link, "f1")),
    "of:response:r1": ("response", lambda link: stored_responses.fetch_response(link, "r1")),
    "of:batch:b1": ("batch", lambda link: batches.fetch_batch(link, "b1")),
    f"of:ledger:{DAY}": ("ledger", lambda link: ledger.read_ledger(link, [DAY])),
    f"of:refused:{DAY}": ("refused", lambda link: refused_requests.fetch_refused(link, DAY_BEGAN)),
    f"of:unexpected:{DAY}": ("last", lambda link: unexpected_spend_days.read_unexpected(link, [DAY])),
    "of:paused": ("set", paused_queues),
    "of:blocked": ("local-only", local_only),
    "of:counters": ("hash", fetch_status),
    "of:last-workers": ("hash", fetch_status),
    "of:lost-writes": ("string", fetch_status),
    "of:audit-log": ("stream", lambda link: audit_log.read_entries(link, 5)),
    "of:falls": ("stream", read_falls),
    "of:inbox:bot": ("stream", read_inbox),
    "of:breaker:box/smol": ("hash", breakers.list_breakers),
    "of:breaker-history": ("list", breakers.breaker_history),
    "of:dead-letters": ("list", outbox.list_dead_letters),
    "of:depths:hour": ("list", depth_history.fetch_depth_history),
    "of:metrics": ("metrics", metric_counts.fetch_metric_counts),
    "of:job-counts": ("since", lambda link: statistics.fetch_statistics(link, DAY)),
    "of:model-use:smol": ("hash", lambda link: model_use.fetch_use(link, ["smol"])),
    "of:card:tower": ("state", lambda link: cards.fetch_cards(link, ["tower"])),
    "of:incident:outage-1": ("began", lambda link: incidents.fetch_incident(link, "outage-1")),
    "of:load-errors": ("hash", backend_reports.remembered_load_errors),
    "of:other-models": ("hash", backend_reports.remembered_other_models),
    "of:health": ("hash", backend_reports.remembered_health),
    "of:result:j1": ("string", lambda link: fetch_results(link, ["j1"])),
    "of:result:j2": ("string", lambda link: JobStore(link).result("j2")),
    "of:job:j1": ("reply", lambda link: JobStore(link).interim_reply("j1")),
}
FAILING_READERS = {
    "of:inbox:bot": ("an entry", read_inbox_results),
    "of:response:r1": ("items", read_conversation),
    "of:job:j1": ("reply", read_webhook),
}
"""They tell their caller that the value cannot be read."""
FIELDS = {"refused": "anna no_key n", "hash": "box/smol", "ledger": "smol@box - - -", "metrics": "fallback a b c calls"}


def damage(store: redis.Redis, key: str, kind: str) -> None:
    key = key.replace("*", client_keys.digest_of("cookie"))
    if kind == "string":
        store.set(key, GARBAGE)
    elif kind == "list":
        store.rpush(key, GARBAGE)
    elif kind == "set":
        store.sadd(key, GARBAGE)
    elif kind == "an entry":
        store.xadd(key, {"id": "j1", "kind": "done", "at": "1", "result": '{"v":2,"status":"answ', "reply_to": '{"x'})
    elif kind == "stream":
        store.xadd(key, {name: GARBAGE for name in ("entry", "fall", "at")})
    else:
        store.sadd("of:breakers", "box/smol")
        if kind == "reply":
            store.hset(key, mapping={"state": "held", "queue": "gpu.smol.batch", "webhook": "http://127.0.0.1:9/"})
        store.hset(key, FIELDS.get(kind, kind), GARBAGE)


async def send_notes(link: RedisConnection) -> None:
    """Notes go with the next command."""
    await link.load("note_unreadable")  # a server that does not know the script gets them after one command more
    await link.command("PING")


@pytest.mark.parametrize(("readers", "key"), [(each, key) for each in (READERS, FAILING_READERS) for key in each])
def test_a_value_that_a_reader_cannot_decode_is_counted_and_listed_by_its_key(fleet, readers, key):
    async def story(f):
        kind, read = readers[key]
        damage(f.store, key, kind)
        await read(f.link)
        await send_notes(f.link)
        assert [value.place for value in await list_unreadable(f.link)] == [key]
        assert f.counter("unreadable") == 1
        assert b"the secret" not in b"".join(f.store.lrange("of:unreadable", 0, -1))

    fleet(story)


def test_a_record_that_a_list_of_jobs_leaves_out_is_noted(fleet):
    async def story(f):
        await f.accept()
        f.store.hset("of:job:job-00001", "deadline", "soon")
        assert (await list_jobs(f.link, JobFilter(), 5)).jobs == ()
        await send_notes(f.link)
        assert [value.place for value in await list_unreadable(f.link)] == ["of:job:job-00001"]

    fleet(story)


def test_values_that_are_absent_or_can_be_read_are_not_noted(fleet):
    async def story(f):
        await f.accept()
        for _, read in READERS.values():
            with suppress(UnknownJob):
                await read(f.link)
        assert await list_jobs(f.link, JobFilter(), 5)
        assert (await f.job_store.record("job-00001")).state == "queued"
        await send_notes(f.link)
        assert await list_unreadable(f.link) == []

    fleet(story)


def test_what_a_connection_reads_last_is_noted_when_it_closes(fleet):
    async def story(f):
        f.store.sadd("of:paused", GARBAGE)
        async with RedisConnection(f.url) as link:
            await paused_queues(link)
        assert [value.place for value in await list_unreadable(f.link)] == ["of:paused"]

    fleet(story)


def test_a_value_that_several_processes_read_counts_once(fleet):
    async def story(f):
        f.store.sadd("of:paused", GARBAGE)
        for _ in range(3):
            async with RedisConnection(f.url) as link:
                await paused_queues(link)
                await send_notes(link)
        assert f.counter("unreadable") == 1

    fleet(story)


@pytest.mark.parametrize("text", [b"garbage", b"[]", b'{"at": "then"}', b"\xff"])
def test_a_list_of_notes_that_cannot_be_read_takes_new_notes(fleet, text):
    async def story(f):
        f.store.rpush("of:unreadable", text)
        f.store.sadd("of:paused", GARBAGE)
        await paused_queues(f.link)
        await send_notes(f.link)
        assert (await list_unreadable(f.link))[0].place == "of:paused"

    fleet(story)


def test_a_note_costs_no_round_trip_of_its_own(fleet):
    async def story(f):
        await send_notes(f.link)
        f.store.sadd("of:paused", GARBAGE)
        await paused_queues(f.link)
        trips = f.link.round_trips
        await f.link.command("PING")
        assert f.counter("unreadable") == 1
        assert f.link.round_trips - trips == 1

    fleet(story)


def test_a_place_is_noted_again_after_a_minute():
    now = 0.0
    notes = UnreadableNotes(lambda: now)
    for moment, expected in ((0.0, 1), (1.0, 0), (REPEAT_SECONDS - 1, 0), (REPEAT_SECONDS, 1)):
        now = moment
        with notes.reading("of:paused"):
            note_unreadable("is no UTF-8")
        assert len(notes.take()["notes"]) == expected


def test_a_connection_remembers_a_bounded_number_of_places():
    notes = UnreadableNotes(lambda: 0.0)
    for number in range(MAX_PLACES + 1):
        notes.add(f"of:job:{number}", "is no JSON")
    assert len(notes.take()["notes"]) == MAX_PLACES + 1
    notes.add("of:job:0", "is no JSON")
    assert notes, "it is forgotten that this one was noted"


@pytest.mark.parametrize(
    ("read", "value", "why"),
    [
        (read_text, b"\xff", "is no UTF-8"), (read_number, b"zzz", "is no whole number"),
        (read_number, b"9" * 40, "is no whole number"), (read_moment, b"-1", "is no moment"),
        (read_json, b"{", "is no JSON"), (read_object, b"[]", "is no JSON object"),
        (read_text, b"a word", None), (read_number, b"7", None), (read_number, b"", None), (read_number, None, None),
        (read_moment, b"7", None), (read_object, b"{}", None), (read_object, None, None),
    ],
)  # fmt: skip
def test_each_reason_is_named_and_what_is_absent_or_readable_has_none(read, value, why):
    notes = UnreadableNotes()
    read(value)
    assert not notes, "outside of `reading` it is no value of Redis"
    with notes.reading("of:paused"):
        read(value)
    assert notes.take()["notes"] == ([("of:paused", why)] if why else [])
