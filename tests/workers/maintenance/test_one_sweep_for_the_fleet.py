"""A sweep costs Redis milliseconds, so one worker does it for all workers that would examine the same queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from openfall.router_core.jobs.result import Status
from openfall.router_core.state import keys
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.unreadable_values import list_unreadable
from openfall.router_core.vocabulary import BreakerState, Urgency
from openfall.workers.maintenance import housekeeping
from tests.faults import stall
from tests.workers.conftest import WorkerBench


async def sweep(bench: WorkerBench) -> int:
    """Run the task as a worker does. Returns the place up to which the sweeps have examined all unfinished jobs."""
    await next(task.run for task in bench.housekeeping.tasks() if task.name == "sweep")()
    return int(await bench.link.command("GET", keys.AUDIT_CURSOR) or 0)


async def locks(bench: WorkerBench) -> list[bytes]:
    return list(await bench.link.command("KEYS", f"{keys.LOCK}sweep:*"))


def test_many_workers_sweep_once_until_the_turn_ends_or_other_queues_are_blocked(
    working: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SWEEP_INTERVAL_SECONDS", 60.0)  # the turn outlasts the test

    async def story(bench: WorkerBench, task: asyncio.Task[None]) -> None:
        for _ in range(250):
            await bench.accept(urgency=Urgency.INTERACTIVE)
        await bench.housekeeping.beat()
        assert [await sweep(bench) for _ in range(8)] == [100] * 8

        await bench.link.command("DEL", *await locks(bench))
        assert await sweep(bench) == 200
        assert await sweep(bench) == 200

        catalog = bench.housekeeping.fleet_cache.catalog
        override = BreakerOverride(BreakerState.OPEN, "the fan is off")
        await force_breaker(bench.link, "box/small", override, catalog.breakers)
        await sweep(bench)
        assert await bench.link.command("LLEN", "rq:queue:gpu.small.interactive") == 0  # all have fallen, in one turn
        assert len(await locks(bench)) == 2
        task.cancel()

    working(story, *[stall] * 4, housekeeping=False)


def test_one_turn_ends_all_jobs_past_their_deadline_however_many(
    working: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SWEEP_INTERVAL_SECONDS", 60.0)

    async def story(bench: WorkerBench, task: asyncio.Task[None]) -> None:
        for _ in range(250):
            await bench.accept(terms={"expires_after_seconds": 0.001})
        await bench.housekeeping.beat()
        await sweep(bench)
        assert await bench.link.command("ZCARD", keys.UNFINISHED) == 0
        task.cancel()

    working(story, *[stall] * 4, housekeeping=False)


@pytest.mark.parametrize("attempts", ["garbage", '{"model":"small"}', "[]"])
def test_a_job_that_rq_has_cancelled_ends_and_so_do_all_others_although_its_attempts_cannot_be_read(
    working: Callable[..., None], attempts: str
) -> None:
    async def story(bench: WorkerBench, task: asyncio.Task[None]) -> None:
        task.cancel()
        jobs = [await bench.accept() for _ in range(3)]
        for job in jobs:
            await bench.link.command("HSET", keys.RQ_JOB + job, "status", "canceled")
        await bench.link.command("HSET", keys.RECORD + jobs[0], "attempts", attempts)
        await bench.housekeeping.beat()
        await sweep(bench)
        assert [(await bench.result(job)).status for job in jobs] == [Status.CANCELLED] * 3
        assert [value.place for value in await list_unreadable(bench.link)] == [keys.RECORD + jobs[0]]

    working(story, *[stall] * 3, housekeeping=False)
