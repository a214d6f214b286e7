"""Budgets: the claim reserves the most that a call can cost, and the end of its lease ends the reserve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.catalog.budget_scope import CallPrice
from openfall.router_core.catalog.budget_windows import Period
from openfall.router_core.catalog.budgets import Budget, Each
from openfall.router_core.deciding.steps import Fall, Handoff
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.over_budget import OverCause
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.budget_book import BudgetBook, audit_budgets, list_budgets, raise_budget
from openfall.router_core.state.held_jobs import ReleaseBudget, release_held
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Urgency
from tests.budget_sums import pack_sums

QUEUE, INTERACTIVE = "cloud.haiku.background", "cloud.haiku.interactive"
PRICE = CallPrice(input=1_000_000, output=1_000_000, request=0, web_search=0, answer=500)
"""A dollar for a million tokens: a call of 500 + 500 tokens costs a tenth of a cent, a million nanodollars, at most."""
CALL = 1_000_000
BOUND = "500 500 0 1 0 0 chat -"
HOUSE = Budget(name="house", usd=0.005)


def queues(*budgets, price=PRICE):
    names = tuple(budget.name for budget in budgets)
    at = BackendCapacity("api", 4096, budgets=names, price=price)
    return [QueueSubscription(queue, (at,)) for queue in (INTERACTIVE, QUEUE)]


async def start(f, *budgets, name="wa", price=PRICE):
    return await f.start_worker(name, *queues(*budgets, price=price), local=False, budgets=budgets)


async def submit(f, count, queue=QUEUE, bound=BOUND, **job):
    return [
        (await f.accept(f"job-{next(f.numbers):05}", queue=queue, bound=bound, expires_after_seconds=86400, job=job)).id
        for _ in range(count)
    ]


def ended(f, delivery, cost=CALL // 4, error=None):
    attempt = Attempt(
        model="haiku", backend="api", started_at=f.clock.now, ended_at=f.clock.now, error=error, cost_nusd=cost
    )
    result = Result(id=delivery.id, status=Status.FAILED, attempts=(attempt,))
    return DeliveryOutcome(next_step=result, call=f.call_report(attempt, delivery))


async def settle(f, worker, delivery, **call):
    return (await worker.settle(worker.settlement(delivery, ended(f, delivery, **call)))).outcome


async def sums(f, budget=HOUSE):
    """Spent, reserved, unconfirmed."""
    (state,) = await list_budgets(f.link, [budget], f.clock.now)
    return state.spent, state.reserved, state.unconfirmed


async def claimed(worker, limit=8):
    """The deliveries that may be called, and why the others may not."""
    deliveries = (await worker.claim(limit, 0)).deliveries
    overs = [delivery.over for delivery in deliveries if delivery.over is not None]
    return [delivery for delivery in deliveries if delivery.over is None], overs


def test_a_claim_reserves_the_most_that_a_call_can_cost_and_the_settle_books_what_it_cost(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 2)
        (first, second), _ = await claimed(worker)
        assert await sums(f) == (0, 2 * CALL, 0)
        assert await settle(f, worker, first) == "settled"
        assert await sums(f) == (CALL // 4, CALL, 0)
        await settle(f, worker, second, cost=None, error=ErrorClass.TIMEOUT)
        assert await sums(f) == (CALL // 4, 0, CALL), "a call that may have been billed counts in full"
        assert await settle(f, worker, second) == "again"
        assert await sums(f) == (CALL // 4, 0, CALL)
        assert f.record_field(second.id, "reserve") is None

    fleet(story)


def test_no_call_is_allowed_with_which_the_sum_could_exceed_the_limit(fleet):
    async def story(f):
        workers = [await start(f, HOUSE, name=name) for name in ("wa", "wb")]
        await submit(f, 8)
        allowed, over = [], []
        for worker in workers:
            now_allowed, now_over = await claimed(worker, 4)
            allowed += now_allowed
            over += now_over
        assert (len(allowed), len(over)) == (5, 3)
        assert {block.cause for block in over} == {OverCause.RESERVED}, "they fit when those in flight cost less"
        for delivery in allowed:
            await settle(f, workers[0], delivery, cost=CALL)
        await submit(f, 1)
        _, (last,) = await claimed(workers[1])
        assert (last.cause, last.name, last.spent, last.limit, last.bound) == (
            OverCause.SPENT, "house", 5 * CALL, 5 * CALL, CALL,
        )  # fmt: skip
        assert last.until > f.clock.now

    fleet(story)


def test_every_end_of_a_lease_ends_its_reserve(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 5)
        (put_back, cut, cancelled, taken_over, falls), _ = await claimed(worker)
        assert await sums(f) == (0, 5 * CALL, 0)
        await worker.settle(worker.settlement(put_back, DeliveryOutcome(next_step=None)))
        assert await sums(f) == (0, 4 * CALL, 0), "no call was made"
        await worker.settle(worker.settlement(cut, DeliveryOutcome(next_step=None, cut=True)))
        assert await sums(f) == (0, 3 * CALL, CALL), "its call was cut off: it may have been billed"
        await end_job(f.link, Result(id=cancelled.id, status=Status.CANCELLED), rq_status="canceled")
        assert await sums(f) == (0, 2 * CALL, 2 * CALL)
        await worker.settle(worker.settlement(falls, DeliveryOutcome(next_step=Fall(HoldReason.OUTAGE, "x"))))
        assert await sums(f) == (0, CALL, 2 * CALL)
        await f.pass_time(11)
        await reap(f.link)
        assert await sums(f) == (0, 0, 3 * CALL), "its worker died in mid-call"
        assert await settle(f, worker, taken_over, cost=CALL // 2) == "settled", "it was not claimed again"
        assert await sums(f) == (CALL // 2, 0, 2 * CALL), "its cost is known after all"
        assert await settle(f, worker, cancelled, cost=CALL // 2) == "late"
        assert await sums(f) == (CALL, 0, CALL)
        assert await audit_budgets(f.link) == []

    fleet(story)


def test_a_hand_off_ends_the_reserve_and_the_next_claim_reserves_again(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 1)
        (delivery,), _ = await claimed(worker)
        attempt = ended(f, delivery, error=ErrorClass.OVERLOADED).call
        step = DeliveryOutcome(next_step=Handoff("haiku", False), call=attempt, to_queue=QUEUE)
        await worker.settle(worker.settlement(delivery, step))
        assert await sums(f) == (CALL // 4, 0, 0)
        await claimed(worker)
        assert await sums(f) == (CALL // 4, CALL, 0)

    fleet(story)


def test_a_call_counts_in_every_budget_that_applies_and_the_one_that_lasts_longest_decides(fleet):
    month = Budget(name="month", usd=0.002, per=Period.MONTH, group="bots")
    each = Budget(name="each", usd=0.001, each=Each.PRODUCER)
    other = Budget(name="other", usd=0, group="family")

    async def story(f):
        worker = await start(f, HOUSE, month, each, other)
        await submit(f, 3, group="bots", producer="bot one/ü")
        (first,), over = await claimed(worker)
        assert first.over is None
        assert [block.budget for block in over] == ["each:bot=20one=2F=C3=BC"] * 2
        states = await list_budgets(f.link, [HOUSE, month, each, other], f.clock.now)
        assert [(state.budget.name, state.owner, state.reserved) for state in states] == [
            ("house", "", CALL), ("month", "", CALL), ("each", "bot one/ü", CALL), ("other", "", 0),
        ]  # fmt: skip
        await submit(f, 2, group="bots", producer="two")
        (allowed,), (second,) = await claimed(worker)
        await settle(f, worker, first, cost=CALL)
        await settle(f, worker, allowed, cost=CALL)
        await submit(f, 1, group="bots", producer="two")
        _, (second,) = await claimed(worker)
        assert second.name == "month"

    fleet(story)


def test_a_share_is_reserved_for_interactive_jobs(fleet):
    budget = replace_budget(reserved_interactive=0.4)

    async def story(f):
        worker = await start(f, budget)
        await submit(f, 5)
        allowed, over = await claimed(worker)
        assert (len(allowed), len(over)) == (3, 2)
        await submit(f, 3, queue=INTERACTIVE)
        allowed, over = await claimed(worker)
        assert (len(allowed), len(over)) == (2, 1)

    fleet(story)


def replace_budget(**fields):
    return HOUSE.model_copy(update=fields)


@pytest.mark.parametrize(
    ("budget", "price", "bound", "cause"),
    [
        pytest.param(replace_budget(usd=0), PRICE, BOUND, "above_limit", id="a limit of 0 allows no call"),
        pytest.param(HOUSE, None, BOUND, "unpriced", id="an unknown price is never 0"),
        pytest.param(HOUSE, PRICE, "500 500 0 1 0 1 - -", "unpriced", id="nor is that of a priority tier"),
        pytest.param(HOUSE, PRICE, None, "unpriced", id="nor is that of a call of unknown size"),
        pytest.param(HOUSE, PRICE, "500 9000 0 1 0 0 - -", "above_limit", id="a call above the whole budget"),
        pytest.param(HOUSE, PRICE, f"500 {10**30} 0 1 0 0 - -", "above_limit", id="nor one beyond any number"),
        pytest.param(HOUSE, replace(PRICE, input=5_000_000_001), "1 1 0 0 0 0 - -", "above_limit", id="nor by a part"),
        pytest.param(HOUSE, PRICE, "500 500 0 20 0 0 - -", "above_limit", id="twenty answers cost twenty times"),
        pytest.param(HOUSE, PRICE, "500 500 9000 1 0 0 - -", "above_limit", id="thinking beside the limit counts"),
        pytest.param(
            HOUSE, replace(PRICE, long_tokens=400, long_input=9_000_000, long_output=9_000_000), BOUND, "above_limit",
            id="a long prompt has its own price",
        ),
        pytest.param(HOUSE, replace(PRICE, request=9_000_000), BOUND, "above_limit", id="a fee for a request counts"),
        pytest.param(
            HOUSE, replace(PRICE, web_search=1_000_000), "0 1 0 1 10 0 - -", "above_limit", id="web searches count"
        ),
        pytest.param(
            HOUSE, replace(PRICE, priority=1, priority_input=9_000_000, priority_output=9_000_000),
            "500 500 0 1 0 1 - -", "above_limit", id="a priority tier has its own price",
        ),
    ],
)  # fmt: skip
def test_a_call_that_can_never_fit_is_not_made(fleet, budget, price, bound, cause):
    async def story(f):
        worker = await start(f, budget, price=price)
        await submit(f, 1, bound=bound)
        allowed, (over,) = await claimed(worker)
        assert (allowed, over.cause) == ([], cause)
        assert await sums(f, budget) == (0, 0, 0)

    fleet(story)


def test_a_window_ends_by_the_clock_and_calls_in_flight_stay_in_the_window_that_admitted_them(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 8)
        allowed, _ = await claimed(worker)
        assert len(allowed) == 5
        today, f.clock.now = f.clock.now, f.clock.now + 86400
        await worker.beat(allowed)
        await submit(f, 1)
        (next_day,), _ = await claimed(worker)
        assert await sums(f) == (0, CALL, 0)
        assert await settle(f, worker, allowed[0]) == "settled"
        assert await sums(f) == (0, CALL, 0), "a new window is a new sum: nothing is reset"
        (before,) = await list_budgets(f.link, [HOUSE], today)
        assert (before.spent, before.reserved) == (CALL // 4, 4 * CALL)
        assert await settle(f, worker, next_day) == "settled"

    fleet(story)


def test_a_raised_limit_counts_at_once_and_ends_by_itself(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 8)
        allowed, over = await claimed(worker)
        assert len(allowed) == 5
        await raise_budget(f.link, "house", CALL, f.clock.now + 60)
        await submit(f, 2)
        allowed, over = await claimed(worker)
        assert (len(allowed), len(over)) == (1, 1)
        (state,) = await list_budgets(f.link, [HOUSE], f.clock.now)
        assert state.limit == 6 * CALL
        f.clock.now += 61
        (state,) = await list_budgets(f.link, [HOUSE], f.clock.now)
        assert state.limit == 5 * CALL

    fleet(story)


def test_a_lowered_limit_allows_no_further_call_and_ends_none_in_flight(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 3)
        allowed, _ = await claimed(worker)
        lower = await start(f, replace_budget(usd=0.002), name="wb")
        await submit(f, 1)
        assert (await claimed(lower))[0] == []
        assert [await settle(f, worker, delivery) for delivery in allowed] == ["settled"] * 3
        assert await sums(f) == (3 * CALL // 4, 0, 0)

    fleet(story)


def test_the_audit_corrects_what_no_call_in_flight_has_reserved(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 2)
        await claimed(worker)
        (key,) = f.store.zrange("of:budgets", 0, -1)
        f.store.hset("of:budget-sums", key, pack_sums(0, 9 * CALL, 0, 2))
        assert await audit_budgets(f.link) == [key.decode()]
        assert await sums(f) == (0, 2 * CALL, 0)
        assert f.store.hget("of:counters", "budget_drift") == b"1"
        assert await audit_budgets(f.link) == [], "once a minute"

    fleet(story)


def test_jobs_that_wait_for_a_budget_cost_one_look_each_and_those_that_fit_come_back(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 25)
        for _ in range(4):
            for delivery in (await worker.claim(8, 0)).deliveries:
                if delivery.over is None:
                    await settle(f, worker, delivery, cost=CALL)
                else:
                    fallen = Fall(HoldReason.BUDGET, delivery.over.detail, delivery.over)
                    await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=fallen)))
        held = 0
        while f.store.llen("rq:queue:degrade"):
            fell = f.store.hget("of:job:" + f.store.lindex("rq:queue:degrade", 0).decode(), "fell_over").decode()
            until = int(fell.split()[1]) / 1000
            await f.degrade(Hold(reason=HoldReason.BUDGET, detail="", models=("haiku",), ready_at=until))
            held += 1
        assert held == 20
        claims = f.store.hget("of:counters", "accepted")
        f.clock.now = until + 1
        backend = queues(HOUSE)[0].backends[0]
        ready = [ReleaseBudget("haiku", "cloud", 64, tuple(Urgency), backend)]
        released = []
        for _ in range(3):
            released += await release_held(f.link, ready, 64, BudgetBook([HOUSE]).pack(f.clock.now))
        assert len(released) == 5, "as many as fit"
        assert f.store.zcard("of:held:haiku") == 0
        assert f.store.zcard("of:held-later") == 15, "the others wait for the next window: no claim, no fall, no settle"
        assert f.store.hget("of:counters", "accepted") == claims

    fleet(story)
