"""Redis keeps the last worker of a pool, for people who look for it after rq has forgotten it."""

from __future__ import annotations

import pytest

from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.reap_and_sweep import audit
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register, unregister
from openfall.router_core.state.worker_subscription import WorkerIdentity

LONGER_THAN_PRESENCE = 11.0


def identity(name, pool="gpu"):
    return WorkerIdentity(name, pool, (f"{pool}.smol.batch",), ("box",), log=f"/log/{name}.log")


async def start(f, name, pool="gpu"):
    await register(f.link, identity(name, pool))
    await WorkerQueue(f.link, identity(name, pool), []).beat([])


async def last_workers(f):
    status = await fetch_status(f.link)
    return [(worker.name, worker.pool, worker.log) for worker in status.last_workers]


@pytest.mark.parametrize("end", ["stopped in order", "killed"])
def test_the_last_worker_of_a_pool_is_named_after_its_end(fleet, end):
    async def story(f):
        await start(f, "wa")
        await start(f, "other", "cloud")
        assert await last_workers(f) == []
        beat_at = f.clock.now
        if end == "killed":
            f.clock.now += LONGER_THAN_PRESENCE
            await WorkerQueue(f.link, identity("other", "cloud"), []).beat([])
            f.store.delete("rq:worker:wa")  # rq's own time to live
        else:
            await unregister(f.link, identity("wa"))
        await audit(f.link)
        (last,) = (await fetch_status(f.link)).last_workers
        assert (last.name, last.pool, last.log) == ("wa", "gpu", "/log/wa.log")
        assert last.host
        assert last.pid
        assert last.beat_at == pytest.approx(beat_at)

    fleet(story)


def test_a_dead_worker_is_forgotten_once_another_serves_its_pool(fleet):
    async def story(f):
        await start(f, "wa")
        await unregister(f.link, identity("wa"))
        await start(f, "wb")
        assert await last_workers(f) == []
        await audit(f.link)
        assert f.store.hkeys("of:last-workers") == [b"wb"]

    fleet(story)


@pytest.mark.parametrize("row", ["garbage", "[]", '{"pool": 7, "host": [], "log": null, "pid": "x", "at": -1}', "\xff"])
def test_a_row_that_cannot_be_read_is_noted_and_removed(fleet, row):
    async def story(f):
        f.store.hset("of:last-workers", "odd", row)
        await fetch_status(f.link)
        await audit(f.link)
        assert f.store.hlen("of:last-workers") == 0
        assert any(b"of:last-workers" in note for note in f.store.lrange("of:unreadable", 0, -1))

    fleet(story)
