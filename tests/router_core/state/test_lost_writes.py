"""Redis goes back to an earlier state while workers run: an older backup, a failover, FLUSHALL."""

from __future__ import annotations

import re

import pytest

from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import WorkerIdentity


def worker(f, name):
    return WorkerQueue(f.link, WorkerIdentity(name, "gpu", ("gpu.smol.batch",), ("box",)), [])


def backup(f):
    return {key: f.store.dump(key) for key in f.store.scan_iter()}


def restore(f, saved):
    f.store.flushall()
    for key, value in saved.items():
        f.store.restore(key, 0, value)


@pytest.mark.parametrize("loss", ["a backup is restored", "everything"])
def test_the_first_beat_after_a_loss_says_what_is_lost_and_the_next_one_says_nothing(fleet, loss):
    async def story(f):
        first, second = worker(f, "first"), worker(f, "second")
        for each in (first, second):
            assert not (await each.beat([])).went_back
        saved, saved_at = backup(f), f.clock.now
        for _ in range(3):
            f.clock.now += 2
            for each in (first, second):
                assert not (await each.beat([])).went_back
        lost_at = f.clock.now
        assert (await fetch_status(f.link)).lost_writes is None
        f.clock.now += 1
        await reap(f.link)  # a worker does more than beat
        restore(f, {} if loss == "everything" else saved)
        await reap(f.link)
        assert [(await each.beat([])).went_back for each in (first, second, first)] == [True, True, False]
        lost = (await fetch_status(f.link)).lost_writes
        assert (lost.noticed_at, lost.until) == (pytest.approx(f.clock.now), pytest.approx(lost_at))
        assert lost.since == (None if loss == "everything" else pytest.approx(saved_at))

    fleet(story)


def damage_counters(f):
    f.store.delete("of:counters")


def damage_the_count(f):
    f.store.set("of:beats", "a word")


def delete_the_count(f):
    f.store.delete("of:beats")


def shorten_the_count(f):
    f.store.hset("of:counters", "beats", "1")


def enlarge_the_count(f):
    f.store.set("of:beats", f"{2**52} 1")


def set_the_clock_back(f):
    f.clock.now -= 600


def sleep(f):
    f.clock.now += 86_400


@pytest.mark.parametrize(
    "event",
    [
        damage_counters,
        damage_the_count,
        delete_the_count,
        shorten_the_count,
        enlarge_the_count,
        set_the_clock_back,
        sleep,
    ],
)
def test_damage_to_one_value_a_clock_that_is_set_back_and_a_long_silence_are_no_loss(fleet, event):
    async def story(f):
        own = worker(f, "own")
        for _ in range(2):
            await own.beat([])
            f.clock.now += 2
        event(f)
        for _ in range(2):
            assert not (await own.beat([])).went_back
            f.clock.now += 2
        assert re.fullmatch(rb"\d+ \d+", f.store.get("of:beats"))

    fleet(story)
