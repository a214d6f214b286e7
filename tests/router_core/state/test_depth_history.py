"""The history of the queues: one row a minute in the whole fleet, with bounded memory."""

from __future__ import annotations

import asyncio
import json

import pytest

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.depth_history import Depth, fetch_depth_history, sample_depths
from openfall.router_core.vocabulary import Urgency

MINUTE = 60


def catalog():
    backend = {"url": "http://box", "pool": "gpu", "protocol": "ollama"}
    model = {"upstream": "smol", "backends": ["box"]}
    return Catalog.model_validate({
        "backends": {"box": backend},
        "models": {"smol": model, "large": {**model, "upstream": "large"}},
        "roles": {"chat": {"chain": ["smol", "large"]}},
    })  # fmt: skip


def test_one_of_many_workers_writes_the_row_of_a_minute(fleet):
    async def story(f):
        f.clock.now -= f.clock.now % 600
        written = await asyncio.gather(*(sample_depths(f.link, catalog()) for _ in range(5)))
        assert sorted(written) == [False, False, False, False, True]
        f.clock.now += 59
        assert not await sample_depths(f.link, catalog())
        f.clock.now += 1
        assert await sample_depths(f.link, catalog())
        assert len((await fetch_depth_history(f.link)).hour) == 2

    fleet(story)


def test_a_row_has_the_depth_and_the_oldest_age_of_each_pool_and_urgency(fleet):
    async def story(f):
        f.clock.now -= f.clock.now % 600
        await f.enqueue(1, "gpu.smol.interactive")
        f.clock.now += 30
        await f.enqueue(3, "gpu.large.interactive", producer="another")
        await f.enqueue(2, "gpu.large.interactive", producer="tests")
        await sample_depths(f.link, catalog())
        (sample,) = (await fetch_depth_history(f.link)).hour
        assert sample.depth("gpu", Urgency.INTERACTIVE) == Depth(6, 30.0)
        assert sample.depth("gpu", Urgency.BATCH) == Depth()
        assert (sample.at, sample.held) == (f.clock.now, 0)

    fleet(story)


def test_an_hour_has_60_rows_and_a_day_144_with_the_highest_values_of_ten_minutes(fleet):
    async def story(f):
        f.clock.now -= f.clock.now % 600
        jobs = []
        for minute in range(75):
            if minute == 63:
                jobs = await f.enqueue(4, "gpu.smol.batch")
            if minute == 66:
                for job in jobs:
                    await f.job_store.cancel(job)
            await sample_depths(f.link, catalog())
            f.clock.now += MINUTE
        history = await fetch_depth_history(f.link)
        assert len(history.hour) == 60
        assert [sample.depth("gpu", Urgency.BATCH).waiting for sample in history.hour[-12:]] == [4, 4, 4, *[0] * 9]
        assert history.hour[-1].at == f.clock.now - MINUTE
        assert [sample.depth("gpu", Urgency.BATCH) for sample in history.day[-2:]] == [Depth(), Depth(4, 120.0)]
        assert f.store.ttl("of:depths:hour") > 0 < f.store.ttl("of:depths:day")
        for _ in range(200):
            f.store.lpush("of:depths:day", "{}")
        f.clock.now += 10 * MINUTE
        await sample_depths(f.link, catalog())
        assert f.store.llen("of:depths:day") == 144

    fleet(story)


def test_what_another_program_wrote_into_the_history_is_left_out(fleet):
    async def story(f):
        f.store.rpush("of:depths:hour", "no JSON", json.dumps({"at": 7}), json.dumps([]))
        f.store.set("of:depths:day", "text")
        assert await sample_depths(f.link, catalog())
        history = await fetch_depth_history(f.link)
        assert (len(history.hour), len(history.day)) == (1, 1)

    fleet(story)


@pytest.mark.parametrize("cells", [{"gpu batch": 5}, {"gpu batch": ["x", None]}, [[1, [1, 2]]], None])
def test_a_row_that_another_program_wrote_stops_neither_the_next_row_nor_the_list(fleet, cells):
    async def story(f):
        f.clock.now -= f.clock.now % 600
        at = int(f.clock.now * 1000)
        for moment in (at, str(at)):
            f.store.lpush("of:depths:hour", json.dumps({"at": moment, "held": 0, "cells": cells}))
        f.clock.now += MINUTE
        assert await sample_depths(f.link, catalog())
        history = await fetch_depth_history(f.link)
        assert history.hour[-1].at == history.day[-1].at == f.clock.now

    fleet(story)
