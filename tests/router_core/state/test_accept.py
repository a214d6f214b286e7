"""Accept, join, refuse: the reply to a producer that submits a job."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.state.errors import DeadlinePassed, IdempotencyConflict, UnknownJob

JOB = "job-00001"


def test_an_accepted_job_is_queued_with_its_position_and_deadline(fleet):
    async def story(f):
        first = await f.accept(JOB, expires_after_seconds=120)
        second = await f.accept("job-00002")
        assert (first.id, first.position, first.joined, first.deadline) == (JOB, 1, False, f.clock.now + 120)
        assert second.position == 2
        assert await f.job_store.position("job-00002") == 2
        assert await f.job_store.result(JOB) is None
        record = await f.job_store.record(JOB)
        assert (record.state, record.producer, record.accepted_at) == ("queued", "tests", f.clock.now)
        assert record.job == f.job(JOB).model_copy(update={"deadline": first.deadline, "accepted_at": f.clock.now})

    fleet(story)


def test_the_same_job_sent_again_changes_nothing(fleet):
    async def story(f):
        await f.accept(idempotency_key="k")
        before = f.dump()
        f.clock.now += 5
        again = await f.accept(idempotency_key="k")
        assert (again.id, again.joined) == (JOB, False)
        assert f.dump() == before

    fleet(story)


def test_the_same_job_sent_again_in_any_state_changes_nothing(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        for _ in range(2):
            before = f.dump()
            await f.accept()
            assert f.dump() == before
            await f.settle(worker, delivery)

    fleet(story)


def test_one_id_with_two_requests_is_refused(fleet):
    async def story(f):
        await f.accept()
        with pytest.raises(IdempotencyConflict) as caught:
            await f.accept(job={"body": {"messages": []}})
        assert caught.value.job_id == JOB

    fleet(story)


def test_a_hundred_submits_with_one_key_are_one_job(fleet):
    async def story(f):
        accepted = await asyncio.gather(*(f.accept(f"job-{n:05}", idempotency_key="once") for n in range(100)))
        assert len({receipt.id for receipt in accepted}) == 1
        assert [receipt.joined for receipt in accepted].count(False) == 1
        assert f.store.llen("rq:queue:" + f.queue) == 1
        assert f.counter("accepted") == 1

    fleet(story)


def test_a_key_of_another_request_is_refused(fleet):
    async def story(f):
        await f.accept(idempotency_key="k")
        with pytest.raises(IdempotencyConflict, match="already belongs to job " + JOB):
            await f.accept("job-00002", idempotency_key="k", job={"body": {"messages": []}})
        assert f.rq_places("job-00002") == []

    fleet(story)


def test_a_key_belongs_to_its_producer(fleet):
    async def story(f):
        await f.accept(idempotency_key="k")
        assert not (await f.accept("job-00002", idempotency_key="k", job={"producer": "other"})).joined

    fleet(story)


def test_no_producer_can_forge_a_key_of_another(fleet):
    async def story(f):
        await f.accept(idempotency_key="b:k", job={"producer": "a"})
        assert not (await f.accept("job-00002", idempotency_key="k", job={"producer": "a:b"})).joined

    fleet(story)


def test_a_key_joins_a_finished_job_for_as_long_as_its_result_is_kept(fleet):
    async def story(f):
        await f.accept(idempotency_key="k", keep_seconds=77)
        (key,) = f.store.keys("of:idem:*")
        assert f.store.ttl(key) == -1, "it stands while the job has no result"
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker))
        assert (await f.accept("job-00002", idempotency_key="k")).id == JOB
        assert {f.store.ttl(name) for name in (key, "of:result:" + JOB, "of:job:" + JOB, "rq:job:" + JOB)} <= {76, 77}
        f.store.delete("of:job:" + JOB, "of:result:" + JOB, "rq:job:" + JOB)  # its time has passed
        assert (await f.accept("job-00003", idempotency_key="k")).id == "job-00003"

    fleet(story)


@pytest.mark.parametrize("deadline", [1.0, 0.0, -5.0], ids=["long ago", "the epoch", "before the epoch"])
def test_a_deadline_in_the_past_is_refused(fleet, deadline):
    async def story(f):
        with pytest.raises(DeadlinePassed, match="the server's clock says"):
            await f.accept(deadline=deadline)
        assert not f.store.keys("*")

    fleet(story)


def test_a_result_is_kept_for_a_second_at_least(fleet):
    """A lifetime of 0 would make the settle fail halfway: the job would be done and have no result."""

    async def story(f):
        await f.accept(keep_seconds=0.2)
        worker = await f.worker()
        assert await f.settle(worker, await f.claim(worker)) == "settled"
        assert (await f.job_store.result(JOB)).answered

    fleet(story)


def test_every_query_for_an_unknown_job_says_that_it_is_unknown(fleet):
    async def story(f):
        for question in ("result", "record", "position", "cancel", "request_stream"):
            with pytest.raises(UnknownJob, match="no job job-00001"):
                await getattr(f.job_store, question)(JOB)

    fleet(story)


def test_jobs_accepted_in_bulk_are_each_accepted_or_refused(fleet):
    async def story(f):
        await f.accept(JOB)
        from openfall.router_core.state.jobs import SubmitTerms

        terms = SubmitTerms(queue=f.queue, expires_after_seconds=10, keep_seconds=10)
        other = f.job(JOB, body={"messages": []})
        good, bad = await f.job_store.accept_many([(f.job("job-00002"), terms), (other, terms)])
        assert good.id == "job-00002"
        assert isinstance(bad, IdempotencyConflict)

    fleet(story)
