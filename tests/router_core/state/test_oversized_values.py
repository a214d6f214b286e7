"""A value far larger than any of openfall's is removed from the keys that scripts and readers copy again and again."""

from __future__ import annotations

from openfall.router_core.state.reap_and_sweep import audit
from openfall.router_core.state.unreadable_values import list_unreadable
from tests.router_core.state.damaged_fleet import build, work

OVERSIZED = b"a" * (2**20 + 1)
OF_ONE_OWNER = (
    b"of:prompt:", b"of:result:", b"of:events:", b"of:answers:", b"of:last-answer:", b"of:idem:", b"of:repeats:",
    b"of:file:", b"of:response:", b"of:inbox:", b"rq:job:", b"of:client-keys", b"of:job:", b"of:unreadable",
    b"of:set-aside:",
)  # fmt: skip
ADD = {
    b"hash": lambda store, key: store.hset(key, "oversized", OVERSIZED),
    b"zset": lambda store, key: store.zadd(key, {OVERSIZED: 1}),
    b"set": lambda store, key: store.sadd(key, OVERSIZED),
    b"list": lambda store, key: store.rpush(key, OVERSIZED),
    b"string": lambda store, key: store.set(key, OVERSIZED),
}


def oversized_keys(store):
    return {key for key in store.scan_iter(b"*") if store.memory_usage(key, samples=0) > len(OVERSIZED)}


async def audits(f):
    for _ in range(3):
        f.store.delete("of:lock:audit")
        await audit(f.link)


def test_the_audit_removes_oversized_values_from_every_key_but_those_of_one_owner(fleet):
    async def story(f):
        await build(f)
        f.store.set("other-program", OVERSIZED)
        kinds = {key: f.store.type(key) for key in f.store.scan_iter(b"[or][fq]:*")}
        for key, kind in kinds.items():
            if kind in ADD:
                ADD[kind](f.store, key)
        kept = {key for key in oversized_keys(f.store) if key.startswith(OF_ONE_OWNER)} | {b"other-program"}
        assert oversized_keys(f.store) - kept > {b"of:counters", b"of:unfinished", b"rq:queues"}
        await audits(f)
        assert oversized_keys(f.store) == kept
        assert "is too large: removed" in {value.why for value in await list_unreadable(f.link)}

    fleet(story)


def test_an_oversized_field_of_a_record_is_removed_by_the_next_script_that_reads_it(fleet):
    async def story(f):
        await build(f)
        record = next(f.store.scan_iter(b"of:job:*"))
        f.store.hset(record, "state", OVERSIZED)
        await audits(f)
        assert f.store.hstrlen(record, "state") < 100
        assert f.store.hstrlen(record, "odd_state") == 0

    fleet(story)


def test_an_oversized_row_of_the_ledger_begins_again_with_its_next_call(fleet):
    async def story(f):
        members = await build(f)
        (day,) = f.store.scan_iter(b"of:ledger:*")
        for row in f.store.hkeys(day):
            f.store.hset(day, row, f.store.hget(day, row) + OVERSIZED)
        await work(f, *members)
        assert min(f.store.hstrlen(day, row) for row in f.store.hkeys(day)) < 1000
        assert "is too large: it begins again" in {value.why for value in await list_unreadable(f.link)}

    fleet(story)
