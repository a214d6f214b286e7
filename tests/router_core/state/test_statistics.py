"""Statistics of jobs by day and month: counted in Redis by the scripts that end jobs, so that no restart loses them."""

from __future__ import annotations

import asyncio
import calendar
from bisect import bisect_left
from dataclasses import replace
from math import ceil

import pytest

from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.delivery_counts import count_end
from openfall.router_core.state.histogram_buckets import JOB_BOUNDS
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.state.statistics import (
    JobStatistics,
    StatisticsKey,
    fetch_job_totals,
    fetch_statistics,
    sum_statistics,
)

NOVEMBER_20 = float(calendar.timegm((2026, 11, 20, 12, 0, 0)))
DAY = 86400


async def answer(f, worker, role="chat", group="family", took=2.0, **more):
    """A job is accepted and answered after `took` seconds, of which the call took one."""
    job_id = f"job-{next(f.numbers):05}"
    terms = {"role": role, "group": group} if role else {}
    await f.accept(job_id, job=terms, expires_after_seconds=86400)
    f.clock.now += took
    delivery = await f.claim(worker)
    attempt = replace(f.attempt(delivery), started_at=f.clock.now - 1, input_tokens=100, output_tokens=20)
    status = more.pop("status", Status.ANSWERED)
    result = Result(
        id=job_id, status=status, attempts=(attempt,), took=took, waited=took - 1, body={"a": 1}, finish_reason="stop"
    )
    outcome = DeliveryOutcome(next_step=result, call=f.call_report(attempt, delivery), **more)
    job = f.job(job_id, **terms)
    settlement = worker.settlement(delivery, outcome.counted(job, delivery.model))
    assert (await worker.settle(settlement)).outcome == "settled"
    return settlement


def test_jobs_are_counted_by_role_urgency_group_and_model(fleet):
    async def story(f):
        worker = await f.worker()
        for role, group in (("chat", "family"), ("chat", "family"), ("code", "family"), (None, None)):
            await answer(f, worker, role, group)
        rows = await fetch_job_totals(f.link)
        assert {(row.role, row.urgency, row.group, row.model): row.answered for row in rows} == {
            ("chat", "background", "family", "smol"): 2,
            ("code", "background", "family", "smol"): 1,
            (None, "background", None, "smol"): 1,
        }
        (chat,) = (row for row in rows if row.role == "chat")
        assert (chat.input_tokens, chat.output_tokens) == (200, 40)
        assert (chat.seconds, chat.mean_seconds) == (4.0, 2.0)

    fleet(story)


def test_a_settle_that_is_sent_again_counts_once(fleet):
    async def story(f):
        worker = await f.worker()
        settlement = await answer(f, worker)
        assert (await worker.settle(settlement)).outcome == "again"
        (row,) = await fetch_job_totals(f.link)
        assert row.requests == 1

    fleet(story)


def test_an_answer_in_place_of_the_first_choice_fell_back_and_a_failure_has_no_time(fleet):
    async def story(f):
        worker = await f.worker()
        await answer(f, worker, substitution=Substitution("smol", "box", "family", left_home=False))
        await answer(f, worker, status=Status.FAILED)
        (row,) = await fetch_job_totals(f.link)
        assert (row.requests, row.answered, row.fell_back, row.failed) == (2, 1, 1, 1)
        assert row.seconds == 2.0

    fleet(story)


def test_a_job_that_its_caller_cancels_is_counted_with_the_labels_of_its_request(fleet):
    async def story(f):
        await f.accept(job={"role": "a role/ü", "group": "family"})
        await f.job_store.cancel("job-00001")
        (row,) = await fetch_job_totals(f.link)
        assert (row.role, row.urgency, row.group, row.model) == ("a role/ü", "background", "family", "smol")
        assert row.outcomes == {"cancelled": 1}

    fleet(story)


def test_a_day_and_a_month_have_what_was_counted_in_them_and_no_process_has_to_run_at_midnight(fleet):
    async def story(f):
        f.clock.now = NOVEMBER_20
        worker = await f.worker()
        await answer(f, worker)
        f.clock.now = NOVEMBER_20 + 2 * DAY  # nothing on the 21st
        for _ in range(2):
            worker = await f.worker()
            await answer(f, worker)
        f.clock.now = NOVEMBER_20 + 15 * DAY
        worker = await f.worker()
        await answer(f, worker)

        async def requests(period):
            return sum(row.requests for row in await fetch_statistics(f.link, period))

        days = [await requests(f"2026-11-{day}") for day in (19, 20, 21, 22, 23)]
        assert days == [0, 1, 0, 2, 0]
        assert await requests("2026-12-05") == 1
        assert [await requests(month) for month in ("2026-10", "2026-11", "2026-12")] == [0, 3, 1]
        assert f.store.ttl("of:job-counts-at:2026-11-22") > 39 * DAY
        assert f.store.ttl("of:job-counts-at:2026-12") > 399 * DAY

    fleet(story)


def test_the_first_day_is_whole_whichever_scripts_count_on_it(fleet):
    async def story(f):
        f.clock.now = NOVEMBER_20
        worker = await f.worker()
        await answer(f, worker)
        await f.accept("job-cancelled")
        await f.job_store.cancel("job-cancelled")  # another script counts for the first time
        (row,) = sum_statistics(await fetch_statistics(f.link, "2026-11-20"))
        assert row.requests == 2
        assert not f.store.keys("of:job-counts-at:*")

    fleet(story)


def test_hostile_labels_make_no_more_than_8000_fields_and_the_rest_counts_as_other(fleet):
    async def story(f):
        f.store.hset("of:job-counts", mapping={f"r{n} background - smol failed": 1 for n in range(8000)})
        worker = await f.worker()
        for _ in range(2):
            await answer(f, worker, role="new", status=Status.FAILED)
        rows = await fetch_job_totals(f.link)
        assert not [row for row in rows if row.role == "new"]
        (other,) = (row for row in rows if row.role == "other")
        assert (other.requests, other.input_tokens) == (2, 200)
        assert f.store.hlen("of:job-counts") < 8010

    fleet(story)


def test_what_another_program_wrote_into_the_counts_stops_no_settle(fleet):
    async def story(f):
        f.store.set("of:job-counts", "text")
        worker = await f.worker()
        await answer(f, worker)
        f.store.hset("of:job-counts", mapping={"since": "x", "broken": "x", "a b c d answered 2.5": "x"})
        await answer(f, worker)
        assert sum(row.requests for row in await fetch_job_totals(f.link)) == 2

    fleet(story)


@pytest.mark.parametrize("since", [None, "x", "1.5", "253402300799000"])
def test_statistics_go_on_after_their_begin_was_lost(fleet, since):
    async def story(f):
        f.clock.now = NOVEMBER_20
        await answer(f, await f.worker())
        f.store.hdel("of:job-counts", "since")
        if since:
            f.store.hset("of:job-counts", "since", since)
        f.clock.now += DAY
        for _ in range(2):
            await answer(f, await f.worker())
        f.clock.now += DAY
        await answer(f, await f.worker())
        (total,) = sum_statistics(await fetch_statistics(f.link, "2026-11-21"))
        assert total.requests == 2

    fleet(story)


@pytest.mark.parametrize("period", ["2026", "2026-13", "2026-11-31", "today"])
def test_another_text_than_a_day_or_a_month_is_refused(period):
    with pytest.raises(ValueError, match="no day such as 2026-11-21 and no month"):
        asyncio.run(fetch_statistics(None, period))


def test_the_mean_and_the_95th_percentile_follow_from_the_buckets():
    buckets = [0] * 17
    buckets[4], buckets[6] = 90, 10  # 90 within 1 to 2.5 s, 10 within 5 to 10 s
    row = JobStatistics(outcomes={"answered": 100}, seconds=250.0, buckets=tuple(buckets))
    assert row.mean_seconds == 2.5
    assert row.p95_bound_seconds == 10.0
    assert JobStatistics(buckets=(*[0] * 16, 3), seconds=70_000.0).p95_bound_seconds == pytest.approx(26_800.0)
    assert JobStatistics(buckets=(*[0] * 16, 3)).p95_bound_seconds is None, "the sum of the times was lost"
    assert JobStatistics(buckets=(0, 3, *[0] * 15)).p95_bound_seconds == 0.25, "the sum of the times was lost"
    assert JobStatistics().p95_bound_seconds is JobStatistics().mean_seconds is None


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        ([121.0], 121.0),
        ([150.0, 150.0], 180.0),
        ([0.5] * 19 + [140.0], 0.5),
        ([0.2] * 18 + [125.0, 140.0], 133.4),
        ([30_000.0], 30_000.0),
        ([3.0] * 40 + [130.0] * 5, 143.33),
        ([200.0, 100.0, 290.0, 0.01], 300.0),
    ],
)
def test_the_95th_percentile_is_never_below_the_true_one_and_close_to_it_with_few_jobs(seconds, bound):
    buckets = [0] * 17
    for value in seconds:
        buckets[bisect_left(JOB_BOUNDS, value)] += 1
    row = JobStatistics(seconds=sum(seconds), buckets=tuple(buckets))
    true = sorted(seconds)[ceil(0.95 * len(seconds)) - 1]
    assert row.p95_bound_seconds == pytest.approx(bound, abs=0.1)
    assert row.p95_bound_seconds >= true - 1e-9


def test_rows_are_summed_by_any_label():
    rows = [
        JobStatistics(role="chat", model="a", outcomes={"answered": 3}, seconds=1.0, input_tokens=5),
        JobStatistics(role="chat", model="b", outcomes={"failed": 1, "fell_back": 1}),
        JobStatistics(role="code", model="b", outcomes={"degraded": 9}),
    ]
    by_model = sum_statistics(rows, StatisticsKey.MODEL)
    assert [(row.model, row.role, row.requests) for row in by_model] == [("b", None, 11), ("a", None, 3)]
    by_role = sum_statistics(rows, StatisticsKey.ROLE)
    assert [(row.role, row.requests, row.answered, row.failed) for row in by_role] == [
        ("code", 9, 0, 0),
        ("chat", 5, 4, 1),
    ]
    (total,) = sum_statistics(rows)
    assert (total.requests, total.input_tokens) == (14, 5)
    assert sum_statistics([])[0].requests == 0


def test_a_job_that_the_sweep_ends_adds_its_labels(fleet):
    async def story(f):
        job = f.job(role="chat", group="family")
        expired = Result(id=job.id, status=Status.EXPIRED)
        assert count_end(job, expired).jobs == [["chat background family smol", "expired", 1]]

    fleet(story)
