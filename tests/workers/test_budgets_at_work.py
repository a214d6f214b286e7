"""Budgets with a real worker and a real upstream: no call beyond the limit, and words for the caller."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budgets import Budget, OverKind
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.deciding.cost_bound import cost_bound
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.budget_book import list_budgets
from openfall.router_core.state.jobs import SubmitTerms
from openfall.router_core.state.ledger import ledger_day, read_ledger
from openfall.router_core.vocabulary import ErrorClass, Urgency
from tests.worker_harness import Fleet, healthy_upstream, running_fleet

COST = 41 * 1_000 + 5 * 5_000
"""Nanodollars for the usage of an answer of the upstream."""
JOBS = 30


def catalog(url: str, usd: float, *then: OverKind) -> Catalog:
    return Catalog(
        backends={
            "api": Backend(url=url, pool="cloud", slots=8),
            "flat": Backend(url=url, pool="cloud", slots=8, billing=Billing.FLAT),
        },
        models={
            "paid": ModelSpec(
                upstream="m", backends=("api",), max_tokens=20, context=8192, usd_per_mtok=Prices(input=1, output=5)
            ),
            "free": ModelSpec(upstream="m", backends=("flat",), max_tokens=20, context=8192),
        },
        budgets=(Budget(name="house", usd=usd, then=then),),
    )


async def submit(fleet: Fleet, *chain: str) -> list[Result]:
    for number in range(JOBS):
        body = {"messages": [{"role": "user", "content": "hello"}]}
        job = CompletionJob(id=f"job-{number:04}", producer="t", chain=chain, body=body, urgency=Urgency.BACKGROUND)
        queue = fleet.catalog.queue(chain[0], job.urgency)
        terms = SubmitTerms(
            queue=queue, expires_after_seconds=600, keep_seconds=600, bound=cost_bound(job, fleet.catalog)
        )
        await fleet.store.accept(job, terms)
    results = []
    for number in range(JOBS):
        await fleet.until(f"job-{number:04}", "done")
        result = await fleet.store.result(f"job-{number:04}")
        assert result is not None
        results.append(result)
    return results


async def sums(fleet: Fleet) -> tuple[int, int, int, int]:
    """The limit, and what is spent, reserved and unconfirmed."""
    (state,) = await list_budgets(fleet.link, fleet.catalog.budgets, await fleet.now())
    return state.limit, state.spent, state.reserved, state.unconfirmed


def test_the_bill_never_exceeds_the_budget_and_equals_the_ledger_and_the_rest_is_refused_in_words(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with healthy_upstream() as upstream:
            by = catalog(upstream.url, 0.001, OverKind.LOCAL, OverKind.REFUSE)
            async with running_fleet(redis_url, tmp_path, by, "cloud") as fleet:
                results = await submit(fleet, "paid")
                limit, spent, reserved, unconfirmed = await sums(fleet)
                assert 0 < len(upstream.calls) < JOBS
                assert len(upstream.calls) * COST == spent <= limit
                assert (reserved, unconfirmed) == (0, 0)
                refused = [result for result in results if result.status is Status.FAILED]
                assert len(refused) == JOBS - len(upstream.calls)
                assert {result.error for result in refused} == {ErrorClass.BUDGET}
                assert "budget house: $" in (refused[0].detail or "")
                (row,) = await read_ledger(fleet.link, [ledger_day(await fleet.now())])
                assert round(row.usd * 1e9) == spent

    asyncio.run(story())


def test_a_spent_budget_keeps_no_job_from_a_model_that_costs_nothing(redis_url: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with healthy_upstream() as upstream:
            by = catalog(upstream.url, 0.0, OverKind.LOCAL, OverKind.WAIT)
            async with running_fleet(redis_url, tmp_path, by, "cloud") as fleet:
                results = await submit(fleet, "paid", "free")
                assert {result.model for result in results} == {"free"}
                assert await sums(fleet) == (0, 0, 0, 0)

    asyncio.run(story())
