"""10,000 jobs that wait for a budget: what its new window, and a raised limit, cost the server."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.deciding.steps import Fall
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.budget_book import BudgetBook, list_budgets
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held
from openfall.router_core.state.jobs import SubmitTerms
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import HoldReason, Urgency
from tests.router_core.state.test_budgets import BOUND, CALL, QUEUE, claimed, ended, queues, start

JOBS, AFFORDED, SLOTS = 10_000, 40, 8
HOUSE = Budget(name="house", usd=AFFORDED * CALL / 1e9)
MAX_COMMANDS = 4_000
"""Of Redis, for one look of one worker at the held jobs: 256 of them at most."""


async def hold_jobs(f, worker):
    """All jobs fall for the budget and are held until it begins anew. Returns that moment."""
    await spend(f, worker)
    body = {"messages": [{"role": "user", "content": "hello"}]}
    terms = SubmitTerms(queue=QUEUE, expires_after_seconds=9 * 86400, keep_seconds=900, bound=BOUND)
    jobs = (CompletionJob(id=f"held-{n:05}", producer="t", chain=("haiku",), body=body) for n in range(JOBS))
    for _ in range(JOBS // 500):
        await f.job_store.accept_many((next(jobs), terms) for _ in range(500))
    degrade = await f.start_worker("degrader", QueueSubscription("degrade", (BackendCapacity("degrade", 512),)))
    until = 0.0
    for _ in range(JOBS // 250):
        allowed, deliveries = [], (await worker.claim(250, 0)).deliveries
        for delivery in deliveries:
            if delivery.over is None:
                allowed.append(delivery)
            else:
                until = delivery.over.until
        assert not allowed
        falls = (Fall(HoldReason.BUDGET, d.over.detail, d.over) for d in deliveries)
        await settle_all(worker, zip(deliveries, falls, strict=True))
        fallen = (await degrade.claim(250, 0)).deliveries
        hold = Hold(reason=HoldReason.BUDGET, detail="", models=("haiku",), ready_at=until)
        await settle_all(degrade, ((delivery, hold) for delivery in fallen))
    assert f.store.zcard("rq:deferred:degrade") == JOBS
    return until


async def settle_all(worker, pairs):
    replies = await asyncio.gather(*(
        worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=step))) for delivery, step in pairs
    ))  # fmt: skip
    assert {reply.outcome for reply in replies} == {"settled"}


async def spend(f, worker):
    """Use the window up."""
    for number in range(AFFORDED):
        await f.accept(f"first-{number:03}", queue=QUEUE, bound=BOUND, expires_after_seconds=86400)
    await call_all(f, worker)


async def call_all(f, worker):
    """Call what may be called, until nothing is in the queue. Returns how often a job was called."""
    calls = 0
    while deliveries := (await claimed(worker, SLOTS))[0]:
        calls += len(deliveries)
        for delivery in deliveries:
            await worker.settle(worker.settlement(delivery, ended(f, delivery, cost=CALL)))
    return calls


def commands(f):
    return sum(row["calls"] for row in f.store.info("commandstats").values())


async def look(f):
    """What one worker does once in a while. Returns the released jobs."""
    ready = [ReleaseBudget("haiku", "cloud", SLOTS, tuple(Urgency), queues(HOUSE)[0].backends[0])]
    before = commands(f)
    released = await release_held(f.link, ready, SLOTS, BudgetBook([HOUSE]).pack(f.clock.now))
    assert commands(f) - before <= MAX_COMMANDS
    return released


@pytest.mark.slow
def test_10000_jobs_that_wait_for_midnight_are_looked_at_once_and_those_that_fit_are_called(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        until = await hold_jobs(f, worker)
        falls = f.store.xlen("of:falls")
        assert await look(f) == [], "nothing is due before the window ends"
        f.clock.now, called, looks = until + 1, 0, 0
        while f.store.zcount("of:held-later", "-inf", f.clock.now * 1000) or f.store.zcard("of:held:haiku"):
            await look(f)
            called += await call_all(f, worker)
            f.clock.now, looks = f.clock.now + 1, looks + 1
        assert called == AFFORDED
        assert looks <= 2 * JOBS // 64
        assert f.store.zcard("of:held-later") == f.store.zcard("rq:deferred:degrade") == JOBS - AFFORDED, "none is lost"
        assert f.store.xlen("of:falls") == falls, "no job that does not fit is claimed, or falls again"
        ((_, next_look),) = f.store.zrange("of:held-later", 0, 0, withscores=True)
        (state,) = await list_budgets(f.link, [HOUSE], f.clock.now)
        assert (state.spent, state.reserved) == (AFFORDED * CALL, 0)
        assert next_look == state.ends_at * 1000, "they are looked at again when the next window begins"

    fleet(story)
