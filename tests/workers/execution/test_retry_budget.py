"""The retry budget: a lone job on a quiet fleet is repeated, and a flood of failures is not."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.vocabulary import Urgency
from openfall.workers.execution.retry_budget import MIN_RETRIES_PER_SECOND, WINDOW_SECONDS, RetryBudget
from tests.faults import COMPLETION, answer, fault_server
from tests.worker_harness import running_fleet

ALWAYS = int(MIN_RETRIES_PER_SECOND * WINDOW_SECONDS)
NEVER_OPENS = BreakerPolicy(consecutive_failures=100_000, minimum_calls=100_000)
FLOOD = 400
OVERLOADED = answer({"error": {"message": "overloaded"}}, 529)


def catalog_of(url: str, **retry: float) -> Catalog:
    return Catalog(
        backends={"box": Backend(url=url, pool="gpu", slots=64)},
        models={"small": ModelSpec(upstream="small", backends=("box",), timeout=10)},
        breakers=NEVER_OPENS,
        retry=RetryPolicy(**retry),
    )


def test_a_few_retries_are_always_allowed_and_a_share_of_the_calls_beside_them():
    budget = RetryBudget(0.2)
    for _ in range(ALWAYS):
        assert budget.may_retry(0.0)
        budget.note_retry(0.0)
    assert not budget.may_retry(0.0)
    for _ in range(5):
        budget.note_call(1.0)
    assert budget.may_retry(1.0)
    budget.note_retry(1.0)
    assert not budget.may_retry(1.0)


def test_retries_and_calls_of_a_minute_ago_do_not_count():
    budget = RetryBudget(0.2)
    for _ in range(ALWAYS):
        budget.note_retry(10.0)
    assert not budget.may_retry(69.9)
    assert budget.may_retry(70.1)


def test_on_a_quiet_fleet_the_eighth_failing_job_is_retried_like_the_first(redis_url, tmp_path):
    async def story():
        script = [OVERLOADED, OVERLOADED, OVERLOADED, answer(COMPLETION)] * 8
        async with fault_server(*script) as upstream:
            catalog = catalog_of(upstream.url, initial_backoff=0.01)
            async with running_fleet(redis_url, tmp_path, catalog, "gpu") as fleet:
                for number in range(8):
                    job = await fleet.accept(f"job-{number:05}", ("small",), Urgency.BACKGROUND)
                    record = await fleet.until(job, "done")
                    assert record.result.answered
                    assert [attempt.error for attempt in record.result.attempts] == ["overloaded"] * 3 + [None]

    asyncio.run(story())


@pytest.mark.slow
def test_jobs_that_fail_at_once_add_a_fifth_to_the_load_beside_the_retries_that_are_always_allowed(redis_url, tmp_path):
    async def story():
        async with fault_server(OVERLOADED) as upstream:
            catalog = catalog_of(upstream.url, initial_backoff=0.01, max_backoff=1000)
            async with running_fleet(redis_url, tmp_path, catalog, "gpu", slots=64) as fleet:
                for number in range(FLOOD):
                    await fleet.accept(f"job-{number:05}", ("small",), Urgency.BATCH)
                async with asyncio.timeout(180):
                    while await settled(fleet) < FLOOD:
                        await asyncio.sleep(0.05)
        assert FLOOD <= len(upstream.calls_received) <= FLOOD * 1.2 + ALWAYS

    async def settled(fleet):
        """The jobs whose next retry waits for the longest back-off, and those that fell after their last one."""
        later = int((await fleet.now() + 100) * 1000)
        waiting = await fleet.link.command("ZCOUNT", "of:scheduled:gpu", later, "+inf")
        return waiting + await fleet.link.command("LLEN", "rq:queue:degrade")

    asyncio.run(story())
