"""Usage by role and producer, and the quantiles of the time and the cost of a call."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.budget_scope import CallOwner
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys
from openfall.router_core.state.external_calls import ExternalCall, book_passthrough_request, report_external_call
from openfall.router_core.state.histogram_buckets import COST_BOUNDS, INFINITE, JOB_BOUNDS, bucket, quantile
from openfall.router_core.state.ledger import MAX_ROWS, OTHERS, ledger_day
from openfall.router_core.state.ledger_sums import UsageKey, fetch_usage
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import ErrorClass
from tests.router_core.state.test_calls_without_a_lease import CATALOG

SMOL = "gpu.smol.background"
SEATS = QueueSubscription(SMOL, (BackendCapacity("box", 9),))


async def call(f, worker, seconds=2.0, nusd=0, error=None, **more):
    delivery = await f.claim(worker)
    attempt = replace(
        f.attempt(delivery), started_at=f.clock.now - seconds, cost_nusd=nusd, error=error, input_tokens=100
    )
    result = Result(id=delivery.id, status=Status.FAILED, attempts=(attempt,))
    report = f.call_report(attempt, delivery, **more)
    settled = worker.settlement(delivery, DeliveryOutcome(next_step=result, call=report))
    assert [(await worker.settle(settled)).outcome for _ in range(2)] == ["settled", "again"]


async def usage(f, by):
    return await fetch_usage(f.link, [ledger_day(f.clock.now)], by)


def test_half_of_the_calls_are_below_p50_and_95_percent_below_p95(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS)
        await f.enqueue(20, SMOL)
        for number in range(20):
            await call(f, worker, 100.0 if number == 0 else 0.3, nusd=9_000_000 if number == 0 else 0)
        (row,) = await usage(f, UsageKey.MODEL)
        assert (row.calls, row.p50_seconds, row.p50_nusd) == (20, pytest.approx(0.382, abs=0.001), 0)
        assert (row.p95_seconds, row.p95_nusd) == (0.5, 0), "one of 20 is above"
        assert row.mean_seconds == pytest.approx(5.285)

    fleet(story)


def test_a_call_of_unknown_cost_is_in_no_quantile_of_the_cost(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS)
        await f.enqueue(3, SMOL)
        await call(f, worker, nusd=None, error=ErrorClass.TIMEOUT)
        (row,) = await usage(f, UsageKey.MODEL)
        assert (row.p50_nusd, row.unpriced, row.p50_seconds) == (None, 1, 1.5)
        await call(f, worker, nusd=1_500_000)
        await call(f, worker, nusd=1_500_000)
        (row,) = await usage(f, UsageKey.BACKEND)
        assert (row.p50_nusd, row.p95_nusd) == (1_250_000, 1_475_000)

    fleet(story)


@pytest.mark.parametrize(
    ("buckets", "most", "share", "value"),
    [
        ((0, 0, 0, 0), 0.0, 0.5, None),
        ((2, 0, 0, 0), 1.0, 0.5, 0.5),
        ((2, 0, 0, 0), 0.3, 0.5, 0.15),
        ((0, 2, 2, 0), 4.0, 0.5, 2.0),
        ((0, 2, 2, 0), 2.5, 0.95, 2.45),
        ((0, 0, 0, 3), 4.0, 0.95, 4.0),
        ((0, 0, 0, 4), 104.0, 0.5, 54.0),
        ((0, 3, 0, 0), 0.0, 1.0, 0.0),
    ],
    ids=[
        "nothing", "the first bucket", "a short first bucket", "between two buckets", "the greatest in its bucket",
        "at the last bound", "above every bound", "a greatest value that is not known",
    ],
)  # fmt: skip
def test_a_quantile_is_estimated_within_its_bucket_and_never_above_the_greatest_value(buckets, most, share, value):
    assert quantile(buckets, (1.0, 2.0, 4.0), most, share) == (value if value is None else pytest.approx(value))


@given(st.lists(st.floats(0, 10**5), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_no_quantile_is_above_the_longest_call(seconds, share):
    names = [*(f"{bound:g}" for bound in JOB_BOUNDS), INFINITE]
    counts = Counter(bucket(value, JOB_BOUNDS) for value in seconds)
    value = quantile([counts[name] for name in names], JOB_BOUNDS, max(seconds), share)
    assert value is not None
    assert 0 <= value <= max(seconds)


def test_each_call_counts_for_its_role_and_its_producer(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS)
        await f.enqueue(4, SMOL)
        await call(f, worker, nusd=5, role="chat", producer="bot")
        await call(f, worker, 4.0, nusd=7, role="chat", producer="a key of the gateway")
        await call(f, worker, nusd=None, error=ErrorClass.TIMEOUT, role="tags", producer="bot")
        await call(f, worker)
        roles = {row.name: (row.calls, row.failed, row.nusd, row.unpriced) for row in await usage(f, UsageKey.ROLE)}
        assert roles == {"chat": (2, 0, 12, 0), "tags": (1, 1, 0, 1), None: (1, 0, 0, 0)}
        rows = await usage(f, UsageKey.PRODUCER)
        assert [(row.name, row.calls, row.input_tokens) for row in rows] == [
            ("a key of the gateway", 1, 100), ("bot", 2, 200), (None, 1, 100)]  # fmt: skip
        assert (rows[0].mean_seconds, rows[0].as_fallback, rows[0].unconfirmed_nusd) == (4.0, 0, 0)
        (model,) = await usage(f, UsageKey.MODEL)
        assert (model.calls, model.nusd) == (4, 12), "callers are no models"

    fleet(story)


def test_rows_beyond_the_limit_of_a_day_are_summed_up_as_those_of_others(fleet):
    async def story(f):
        worker = await f.start_worker("wa", SEATS)
        await f.enqueue(6, SMOL)
        day = keys.LEDGER + ledger_day(f.clock.now)
        await call(f, worker, role="chat", producer="early")
        known = {f"smol@box - - p-{number}": "1 0 0 0 0 0 0 0" for number in range(MAX_ROWS - 1)}
        await f.link.command("HSET", day, *(part for row in known.items() for part in row))
        for producer in ("late", "later", "early", OTHERS):
            await call(f, worker, role="chat", producer=producer)
        rows = {row.name: row.calls for row in await usage(f, UsageKey.PRODUCER)}
        assert len(rows) == MAX_ROWS + 1
        assert (rows["early"], rows[OTHERS]) == (2, 3)
        assert {row.name: row.calls for row in await usage(f, UsageKey.ROLE)} == {"chat": 5, None: MAX_ROWS - 1}
        assert f.store.hlen(day) == MAX_ROWS + 1, "one for each model, backend, group and role"

    fleet(story)


@pytest.mark.parametrize("name", ["a b * {}\r\n", "ünïcode 家族", "@role", "x" * 128, "*", "-1"])
def test_any_name_of_a_producer_has_a_row_of_its_own(fleet, name):
    async def story(f):
        worker = await f.start_worker("wa", SEATS)
        await f.enqueue(1, SMOL)
        await call(f, worker, producer=name)
        assert [row.name for row in await usage(f, UsageKey.PRODUCER)] == [name]

    fleet(story)


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe",
        b"1 2 3",
        b"1 many 0 0 0 0 0 0",
        b"",
        b"-1" + b" 0" * 7,
        b"1e400" + b" 0" * 7,
        b"9" * 400 + b" 0" * 7,
    ],
)
def test_damaged_sums_of_a_row_cost_no_call_and_are_counted_again(fleet, damage):
    async def story(f):
        worker = await f.start_worker("wa", SEATS)
        await f.enqueue(2, SMOL)
        await call(f, worker, nusd=5, producer="bot")
        await f.link.command("HSET", keys.LEDGER + ledger_day(f.clock.now), "smol@box - - bot", damage)
        await usage(f, UsageKey.PRODUCER)
        await call(f, worker, nusd=5, producer="bot")
        (row,) = await usage(f, UsageKey.PRODUCER)
        assert row.calls == 1

    fleet(story)


def test_calls_beside_the_queue_count_for_their_callers_too(fleet):
    async def story(f):
        owner = CallOwner(task="chat", producer="bot")
        await report_external_call(f.link, CATALOG, ExternalCall(model="haiku", backend="api", owner=owner))
        assert await book_passthrough_request(f.link, CATALOG, "api", 1_000_000, owner) is None
        assert [(row.name, row.calls) for row in await usage(f, UsageKey.PRODUCER)] == [("bot", 2)]
        assert {row.name: row.calls for row in await usage(f, UsageKey.ROLE)} == {"chat": 1, None: 1}
        rows = {row.name: row for row in await usage(f, UsageKey.MODEL)}
        assert (rows["-"].p50_seconds, rows["-"].p50_nusd) == (None, 750_000), "a request that passes has no time"

    fleet(story)


def test_the_buckets_have_names_of_their_own():
    for bounds in (JOB_BOUNDS, COST_BOUNDS):
        assert len({f"{bound:g}" for bound in bounds}) == len(bounds)
        assert list(bounds) == sorted(bounds)
