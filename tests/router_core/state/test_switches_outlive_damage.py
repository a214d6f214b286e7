"""What operators switched on stays on, whatever another program writes in one of its keys."""

from __future__ import annotations

import pytest

from openfall.router_core.state import keys
from openfall.router_core.state.client_keys import ClientKey, add_key, fetch_keys, revoke_key
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.operator_switches import (
    NO_REASON,
    local_only,
    pause_queue,
    paused_queues,
    resume_queue,
    set_local_only,
)
from openfall.router_core.state.reap_and_sweep import audit
from openfall.router_core.state.unreadable_values import list_unreadable
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from tests.router_core.state.damaged_fleet import CATALOG

CLOUD = "cloud.haiku.background"
GARBAGE = b"\xff\xfe garbage"


def another_type(key):
    def overwrite(store):
        store.delete(key)
        store.set(key, GARBAGE)

    return overwrite


def rename_members(change):
    def overwrite(store):
        names = store.smembers(keys.PAUSED)
        store.delete(keys.PAUSED)
        store.sadd(keys.PAUSED, *map(change, names))

    return overwrite


PAUSE_DAMAGES = {
    "another type": another_type(keys.PAUSED),
    "garbage": rename_members(lambda _: GARBAGE),
    "empty": rename_members(lambda _: b""),
    "half of the name": rename_members(lambda name: name[: len(name) // 2]),
    "its urgency cut off": rename_members(lambda name: name[:-3]),
    "another type of the second place": another_type(keys.SWITCHES),
    "the second place removed": lambda store: store.delete(keys.SWITCHES),
}


@pytest.mark.parametrize("damage", PAUSE_DAMAGES)
def test_no_job_is_claimed_from_a_paused_queue_whatever_the_pause_is_replaced_by(fleet, damage):
    async def story(f):
        worker = await f.worker()
        await f.accept()
        assert await pause_queue(f.link, f.queue)
        PAUSE_DAMAGES[damage](f.store)
        assert (await worker.claim(1, 0)).deliveries == ()
        assert f.queue in await paused_queues(f.link)
        await audit(f.link)
        assert f"paused {f.queue}".encode() in f.store.hkeys(keys.SWITCHES)
        assert await resume_queue(f.link, f.queue)
        f.store.delete("of:lock:audit")
        await audit(f.link)
        assert len((await worker.claim(1, 0)).deliveries) == 1

    fleet(story)


def test_a_pause_that_is_another_queue_now_is_back_after_an_audit(fleet):
    async def story(f):
        await pause_queue(f.link, f.queue)
        rename_members(lambda _: b"gpu.other.batch")(f.store)
        await audit(f.link)
        assert await paused_queues(f.link) == sorted([f.queue, "gpu.other.batch"])
        (value,) = await list_unreadable(f.link)
        assert value.place == keys.PAUSED
        assert f.queue in value.why

    fleet(story)


def test_a_pause_with_a_word_of_a_newer_openfall_is_kept(fleet):
    async def story(f):
        f.store.sadd(keys.PAUSED, "gpu.smol.someday", "cloud")
        worker = await f.worker()
        await worker.claim(1, 0)
        await audit(f.link)
        assert await paused_queues(f.link) == ["cloud", "gpu.smol.someday"]
        assert await list_unreadable(f.link) == []

    fleet(story)


LOCAL_ONLY_DAMAGES = {
    "another type": another_type(keys.BLOCKED),
    "garbage": lambda store: store.hset(keys.BLOCKED, "local-only", GARBAGE),
    "empty": lambda store: store.hset(keys.BLOCKED, "local-only", b""),
    "another type of the second place": another_type(keys.SWITCHES),
}


@pytest.mark.parametrize("damage", LOCAL_ONLY_DAMAGES)
def test_no_job_leaves_the_local_pools_whatever_the_switch_is_replaced_by(fleet, damage):
    async def story(f):
        queue = QueueSubscription(CLOUD, (BackendCapacity("api", 4),))
        worker = await f.start_worker("wa", queue, local=False)
        await f.accept(queue=CLOUD)
        await set_local_only(f.link, True, "the lawyers")
        LOCAL_ONLY_DAMAGES[damage](f.store)
        assert (await fetch_fleet_snapshot(f.link, CATALOG)).local_only
        assert (await worker.claim(1, 0)).deliveries == ()
        assert await local_only(f.link) == {"garbage": "\ufffd\ufffd garbage", "empty": NO_REASON}.get(
            damage, "the lawyers"
        )
        await set_local_only(f.link, False)
        await audit(f.link)
        assert len((await worker.claim(1, 0)).deliveries) == 1

    fleet(story)


def test_a_switch_that_was_removed_from_its_key_is_on_again_after_an_audit(fleet):
    async def story(f):
        await set_local_only(f.link, True, "the lawyers")
        f.store.delete(keys.BLOCKED)
        await audit(f.link)
        assert await local_only(f.link) == "the lawyers"
        assert [value.place for value in await list_unreadable(f.link)] == [keys.BLOCKED]

    fleet(story)


KEY = ClientKey(name="bot", digest="d")
KEY_DAMAGES = {
    "another type": (another_type(keys.CLIENT_KEYS), "overwritten"),
    "garbage": (lambda store: store.hset(keys.CLIENT_KEYS, "bot", GARBAGE), "bot"),
    "truncated": (lambda store: store.hset(keys.CLIENT_KEYS, "bot", KEY.model_dump_json()[:20]), "bot"),
    "empty": (lambda store: store.hset(keys.CLIENT_KEYS, "bot", b""), "bot"),
    "a name that is no text": (
        lambda store: (store.delete(keys.CLIENT_KEYS), store.hset(keys.CLIENT_KEYS, GARBAGE, GARBAGE)),
        "\ufffd\ufffd garbage",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", KEY_DAMAGES)
def test_keys_that_cannot_be_read_open_nothing_still_count_as_keys_and_can_be_revoked(fleet, damage):
    async def story(f):
        await add_key(f.link, KEY)
        overwrite, name = KEY_DAMAGES[damage]
        overwrite(f.store)
        for _ in range(2):
            ring = await fetch_keys(f.link)
            assert (ring.find("d"), bool(ring), ring.unreadable) == (None, True, (name,))
        assert await revoke_key(f.link, name)
        assert await add_key(f.link, KEY)
        ring = await fetch_keys(f.link)
        assert ([key.name for key in ring.by_digest.values()], ring.unreadable) == (["bot"], ())

    fleet(story)


def test_keys_that_were_never_made_are_none(fleet):
    async def story(f):
        assert not await fetch_keys(f.link)

    fleet(story)
