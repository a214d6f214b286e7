"""The long bodies of a claim: a worker sends them once, and again to a server that does not know them any more."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from tests.router_core.state.test_budgets import HOUSE, claimed, replace_budget, start, submit

FREE = "gpu.own.batch"
OTHERS = 120
"""More subscriptions than a script remembers."""


def received(f) -> int:
    """The bytes that the server has received."""
    return int(f.store.info("stats")["total_net_input_bytes"])


def test_a_worker_sends_its_subscription_and_its_budgets_once(fleet):
    budgets = tuple(Budget(name=f"budget-{number}", usd=100) for number in range(40))

    async def story(f):
        worker = await start(f, *budgets)
        await submit(f, 4)
        sizes = []
        for _ in range(4):
            before = received(f)
            assert len((await claimed(worker, 1))[0]) == 1
            sizes.append(received(f) - before)
        assert sizes[0] > 5000
        assert max(sizes[1:]) < 1000

    fleet(story)


def test_a_claim_of_a_pool_that_costs_nothing_is_the_same_with_budgets_and_without(fleet):
    async def story(f):
        figures = []
        await f.link.load("accept", "claim")
        for name, budgets in (("wa", ()), ("wb", (HOUSE,))):
            worker = await f.start_worker(name, QueueSubscription(FREE, (BackendCapacity("box", 8),)), budgets=budgets)
            await f.enqueue(3, queue=FREE)
            f.store.config_resetstat()
            for _ in range(3):
                assert len((await worker.claim(1, 0)).deliveries) == 1
            calls = {command: row["calls"] for command, row in f.store.info("commandstats").items()}
            figures.append((received(f), calls))
        assert figures[0] == figures[1]

    fleet(story)


async def flush_functions(f) -> None:
    f.store.function_flush("SYNC")


async def claim_by_many_others(f) -> None:
    for number in range(OTHERS):
        queue = QueueSubscription(f"gpu.other-{number}.batch", (BackendCapacity("box", 4),))
        await (await f.start_worker(f"other-{number}", queue)).claim(1, 0)


async def claim_with_many_other_budgets(f) -> None:
    for number in range(OTHERS):
        await (await start(f, replace_budget(usd=100 + number), name=f"rich-{number}")).claim(0, 0)


@pytest.mark.parametrize(
    "forget", [flush_functions, claim_by_many_others, claim_with_many_other_budgets], ids=lambda how: how.__name__
)
def test_a_server_that_does_not_know_them_any_more_gets_them_again_and_no_job_is_lost(fleet, forget):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 3)
        ids = [(await claimed(worker, 1))[0][0].id]
        await forget(f)
        ids += [(await claimed(worker, 1))[0][0].id for _ in range(2)]
        assert len(set(ids)) == 3

    fleet(story)


def test_a_changed_budget_counts_from_the_next_claim_of_a_new_worker_on(fleet):
    async def story(f):
        old, new = await start(f, HOUSE), await start(f, replace_budget(usd=0), name="wb")
        await submit(f, 3)
        assert len((await claimed(old, 1))[0]) == 1
        assert len((await claimed(new, 1))[1]) == 1, "its call does not fit"
        assert len((await claimed(old, 1))[0]) == 1

    fleet(story)
