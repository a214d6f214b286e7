"""What was called, for whom, and what it cost: every call once, whatever became of its job."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from openfall.router_core.deciding.steps import Handoff, Later
from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.beats_and_leases import LEASE_SECONDS
from openfall.router_core.state.jobs import end_job
from openfall.router_core.state.ledger import read_ledger
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import ErrorClass

SMOL, LARGE = "gpu.smol.background", "gpu.large.background"
BOTH = (QueueSubscription(SMOL, (BackendCapacity("box", 9),)), QueueSubscription(LARGE, (BackendCapacity("tower", 9),)))


def day(f) -> str:
    return f"{datetime.fromtimestamp(f.clock.now, UTC):%Y-%m-%d}"


def settle(f, worker, delivery, next_=None, **fields):
    """The settle of a call of 2 s that read 100 tokens, wrote 20 and cost a cent, unless `fields` say otherwise."""
    from_ = {
        "started_at": f.clock.now - 2,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_nusd": 10_000_000,
        "error": None,
    }
    group = fields.pop("group", "family")
    attempt = replace(f.attempt(delivery), **{**from_, **fields})
    next_ = next_ or Result(id=delivery.id, status=Status.FAILED, attempts=(attempt,))
    call = f.call_report(attempt, delivery, group=group)
    return worker.settlement(delivery, DeliveryOutcome(next_step=next_, call=call, to_queue=LARGE))


async def call(f, worker, next_=None, **fields):
    delivery = await f.claim(worker)
    return (await worker.settle(settle(f, worker, delivery, next_, **fields))).outcome


async def entry(f):
    (row,) = await read_ledger(f.link, [day(f)])
    return row


def test_calls_are_summed_by_model_backend_and_group(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(4, SMOL)
        await f.enqueue(1, LARGE)
        for group in ("family", "family", "work", None, "family"):
            await call(f, worker, group=group)
        rows = await read_ledger(f.link, [day(f)])
        assert [(e.model, e.backend, e.group, e.calls) for e in rows] == [
            ("large", "tower", "family", 1), ("smol", "box", None, 1), ("smol", "box", "family", 2),
            ("smol", "box", "work", 1)]  # fmt: skip
        row = rows[2]
        assert (row.seconds, row.input_tokens, row.output_tokens) == (4, 200, 40)
        assert (row.usd, row.unpriced, row.failed, row.as_fallback) == (pytest.approx(0.02), 0, 0, 0)

    fleet(story)


def test_an_unknown_cost_is_not_counted_as_zero(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(3, SMOL)
        for cost in (None, 0, 5):
            await call(f, worker, cost_nusd=cost)
        row = await entry(f)
        assert (row.calls, row.unpriced, row.usd) == (3, 1, 5e-9)

    fleet(story)


def test_a_failed_call_counts_with_what_it_cost_and_is_no_fallback_itself(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(3, SMOL)
        await call(f, worker, Handoff("large", False), error=ErrorClass.TIMEOUT)
        await call(f, worker, Handoff("large", False))  # the next answer of an ensemble: no fallback
        await call(f, worker, Later("smol", 5), error=ErrorClass.TIMEOUT, cost_nusd=None)
        row = await entry(f)
        assert (row.calls, row.failed, row.as_fallback) == (3, 2, 0)
        assert (row.usd, row.unpriced) == (pytest.approx(0.02), 1)

    fleet(story)


def test_an_answer_in_place_of_the_first_choice_counts_once_on_the_row_of_the_model_that_answered(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(2, LARGE)
        for left_home in (False, True):
            delivery = await f.claim(worker)
            attempt = replace(f.attempt(delivery), error=None)
            result = Result(id=delivery.id, status=Status.ANSWERED, attempts=(attempt,))
            outcome = DeliveryOutcome(
                next_step=result, call=f.call_report(attempt, delivery, group="my family"),
                substitution=Substitution("large", "tower", "my family", left_home),
            )  # fmt: skip
            settled = worker.settlement(delivery, outcome)
            assert [(await worker.settle(settled)).outcome for _ in range(2)] == ["settled", "again"]
        row = await entry(f)
        assert (row.model, row.group, row.calls, row.as_fallback, row.left_home) == ("large", "my family", 2, 2, 1)

    fleet(story)


def test_an_answer_that_ends_a_job_from_outside_a_delivery_counts_too(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(1, LARGE)
        (job_id,) = [delivery.id for delivery in (await worker.claim(1, 0)).deliveries]
        result = Result(id=job_id, status=Status.ANSWERED, picked="large@tower")
        answer = Substitution("large", "tower", None, True)
        assert await end_job(f.link, result, rq_status="finished", substitution=answer)
        assert not await end_job(f.link, result, rq_status="finished", substitution=answer)
        row = await entry(f)
        assert (row.calls, row.as_fallback, row.left_home) == (0, 1, 1)
        assert 99 * 86400 < f.store.ttl("of:ledger:" + day(f)) <= 100 * 86400

    fleet(story)


def test_a_delivery_without_a_call_costs_nothing(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(1, SMOL)
        delivery = await f.claim(worker)
        await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=None)))
        assert await read_ledger(f.link, [day(f)]) == []

    fleet(story)


def test_a_settle_that_is_sent_again_is_counted_once_even_after_its_job_went_on(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(1, SMOL)
        first = settle(f, worker, await f.claim(worker), Handoff("large", False), error=ErrorClass.TIMEOUT)
        assert [(await worker.settle(first)).outcome for _ in range(2)] == ["settled", "again"]
        second = settle(f, worker, await f.claim(worker))
        assert (await worker.settle(first)).outcome == "again", "while the next one is called"
        assert [(await worker.settle(second)).outcome for _ in range(2)] == ["settled", "again"]
        assert (await worker.settle(first)).outcome == "again", "after the end, from a disk that had been full of it"
        assert [entry.calls for entry in await read_ledger(f.link, [day(f)])] == [1, 1]
        assert f.counter("late") == 0

    fleet(story)


def test_a_call_whose_settle_comes_too_late_was_paid_all_the_same_and_once(fleet):
    async def story(f):
        lost, heir = await f.start_worker("lost", *BOTH), await f.start_worker("heir", *BOTH)
        await f.enqueue(1, SMOL)
        slow = settle(f, lost, await f.claim(lost), Handoff("large", False), error=ErrorClass.TIMEOUT)
        await f.pass_time(LEASE_SECONDS + 1, (heir, ()))
        await reap(f.link)
        assert await call(f, heir) == "settled"
        assert [(await lost.settle(slow)).outcome for _ in range(3)] == ["late"] * 3
        row = await entry(f)
        assert (row.calls, row.failed, row.as_fallback) == (2, 1, 0)
        assert row.usd == pytest.approx(0.02)
        assert f.counter("late") == 1

    fleet(story)


def test_the_settled_tokens_of_a_job_stay_bounded(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(1, SMOL)
        for _ in range(50):
            delivery = await f.claim(worker)
            assert await worker.settle(last := worker.settlement(delivery, DeliveryOutcome(next_step=None)))
        assert len(f.record_field(delivery.id, "settled")) <= 64
        assert (await worker.settle(last)).outcome == "again"

    fleet(story)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_tokens": 10**30, "output_tokens": -5},
        {"cost_nusd": 10**300},
        {"cost_nusd": -1},
        {"started_at": 9e9},
        {"group": "my group * {}\r\n\n"},
        {"group": "ünïcode 家族"},
    ],
    ids=["tokens", "a price", "a negative price", "the clock", "spaces", "letters"],
)
def test_no_value_of_a_backend_or_a_producer_makes_a_settle_fail(fleet, fields):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(40, SMOL)
        for _ in range(40):
            assert await call(f, worker, **fields) == "settled"
        row = await entry(f)
        assert (row.calls, row.group) == (40, fields.get("group", "family"))
        assert min(row.seconds, row.usd, row.input_tokens, row.output_tokens) >= 0

    fleet(story)


def test_a_day_of_the_ledger_is_the_servers_and_expires_after_100_days(fleet):
    async def story(f):
        worker = await f.start_worker("wa", *BOTH)
        await f.enqueue(2, SMOL)
        days = [day(f)]
        await call(f, worker)
        f.clock.now += 86400
        days.append(day(f))
        await call(f, worker)
        assert [(e.day, e.calls) for e in await read_ledger(f.link, [*days, "1999-01-01"])] == [(d, 1) for d in days]
        assert 99 * 86400 < f.store.ttl("of:ledger:" + days[0]) <= 100 * 86400

    fleet(story)
