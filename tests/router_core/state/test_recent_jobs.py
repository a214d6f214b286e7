"""The list of all jobs: complete, the newest first, in pages, and each page with a bounded cost."""

from __future__ import annotations

import pytest

from openfall.router_core.deciding.steps import Fall
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.state import recent_jobs
from openfall.router_core.state.errors import AmbiguousId, UnknownJob
from openfall.router_core.state.job_search import find_job
from openfall.router_core.state.reap_and_sweep import audit
from openfall.router_core.state.recent_jobs import JobFilter, cursor_at, list_jobs
from openfall.router_core.vocabulary import ErrorClass, HoldReason
from tests.router_core.state.conftest import ANSWER, SECRET


def ids(page) -> list[str]:
    return [job.id for job in page.jobs]


async def accept_several(f, *names: str, **terms) -> None:
    for name in names:
        f.clock.now += 1
        await f.accept(name, **terms)


def test_an_answered_job_is_listed_with_who_answered_why_at_what_cost_and_no_text(fleet):
    async def story(f):
        considered = (ConsideredModel(model="smol", reason="1st in role chat, loaded"),)
        await f.accept(job={"role": "chat", "considered": considered})
        (waits,) = (await list_jobs(f.link, JobFilter(), 5)).jobs
        assert (waits.state, waits.why, waits.answered_by) == ("queued", "1st in role chat, loaded", None)
        worker = await f.worker()
        await f.settle(worker, await f.claim(worker))
        (job,) = (await list_jobs(f.link, JobFilter(), 5)).jobs
        assert (job.outcome, job.answered_by, job.backend, job.fell_back) == ("answered", "smol", "box", False)
        assert (job.took_seconds, job.output_tokens, job.cost_usd) == (0.0, None, None)
        assert ANSWER not in repr(job)
        assert SECRET not in repr(waits) + repr(job)

    fleet(story)


def test_a_job_without_an_answer_is_listed_with_its_error(fleet):
    async def story(f):
        await f.accept()
        worker = await f.worker()
        delivery = await f.claim(worker)
        await f.settle(worker, delivery, f.failed(delivery, "no such field"))
        (job,) = (await list_jobs(f.link, JobFilter(states=frozenset({"failed"})), 5)).jobs
        assert (job.status, job.why, job.answered_by) == ("failed", f"{ErrorClass.BAD_REQUEST}: no such field", None)

    fleet(story)


def test_pages_follow_each_other_without_a_gap_and_without_a_repetition(fleet):
    async def story(f):
        names = [f"job-{number:05}" for number in range(7)]
        for name in names:
            await f.accept(name)  # all in the same millisecond
        pages, cursor = [], None
        while True:
            page = await list_jobs(f.link, JobFilter(), 3, before=cursor)
            pages.append(ids(page))
            cursor = page.next_cursor
            if cursor is None:
                break
        assert pages == [names[:-4:-1], names[-4:-7:-1], names[:1]]
        assert ids(await list_jobs(f.link, JobFilter(), 3, before=cursor_at(page.jobs[0]))) == []

    fleet(story)


def test_a_page_continues_although_the_job_at_its_cursor_is_gone(fleet):
    async def story(f):
        await accept_several(f, "job-00001", "job-00002", "job-00003")
        page = await list_jobs(f.link, JobFilter(), 2)
        f.store.zrem("of:jobs", "job-00002")
        assert ids(await list_jobs(f.link, JobFilter(), 2, before=page.next_cursor)) == ["job-00001"]

    fleet(story)


@pytest.mark.parametrize("cursor", ["", "5", "x-job", "-job-00001", "99999999999999999-job-00001", "１-job"])
def test_a_cursor_that_is_none_is_refused(fleet, cursor):
    async def story(f):
        with pytest.raises(ValueError, match="is no cursor"):
            await list_jobs(f.link, JobFilter(), 2, before=cursor)

    fleet(story)


def test_a_filter_that_nothing_matches_costs_a_page_two_scripts_and_says_where_it_stopped(fleet, monkeypatch):
    async def story(f):
        monkeypatch.setattr(recent_jobs, "MAX_READ", 3)
        names = [f"job-{number:05}" for number in range(10)]
        await accept_several(f, *names)
        await f.link.load("job_page")  # a script that the server does not know yet costs more
        trips = f.link.round_trips
        page = await list_jobs(f.link, JobFilter(model="none"), 5)
        assert f.link.round_trips - trips == 2
        assert (page.jobs, page.next_cursor.partition("-")[2]) == ((), "job-00004")
        assert (await list_jobs(f.link, JobFilter(model="none"), 5, before=page.next_cursor)).next_cursor is None
        assert ids(await list_jobs(f.link, JobFilter(id_text="00001"), 5, max_scripts=None)) == ["job-00001"]

    fleet(story)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("bot:main", True), ("bot:*", True), ("*:main", True), ("*", True), ("b*:m*n", True), ("bot:mai?", True),
        ("**n", True), ("bot", False), ("bot:m", False), ("*x*", False), ("bot:main?", False), ("", False),
        ("[b]ot:main", False), ("%a*", False), ("*a*i*n*", True), ("*" * 200 + "z", False),
    ],
)  # fmt: skip
def test_a_pattern_has_stars_and_question_marks_and_nothing_else_that_is_special(fleet, pattern, matches):
    async def story(f):
        await f.accept(job={"producer": "bot:main"})
        assert bool((await list_jobs(f.link, JobFilter(producer=pattern), 5)).jobs) is matches

    fleet(story)


def test_a_producer_who_may_see_only_its_own_jobs_cannot_widen_them_with_a_pattern(fleet):
    async def story(f):
        await accept_several(f, "job-00001", job={"producer": "bot"})
        await accept_several(f, "job-00002", job={"producer": "b*"})
        assert ids(await list_jobs(f.link, JobFilter(only_of="b*"), 5)) == ["job-00002"]
        assert ids(await list_jobs(f.link, JobFilter(only_of="b*", producer="bot"), 5)) == []

    fleet(story)


def test_failed_and_held_jobs_are_listed_without_a_search_through_all_jobs(fleet, monkeypatch):
    async def story(f):
        monkeypatch.setattr(recent_jobs, "MAX_READ", 2)
        await f.accept("failed-01")
        worker = await f.worker()
        delivery = await f.claim(worker)
        await f.settle(worker, delivery, f.failed(delivery))
        await f.accept("held-0001")
        await f.settle(worker, await f.claim(worker), Fall(HoldReason.OUTAGE, "smol: its breaker is open"))
        await f.degrade()
        await accept_several(f, *(f"job-{number:05}" for number in range(6)))
        for state, job_id in (("failed", "failed-01"), ("held", "held-0001")):
            wanted = JobFilter(states=frozenset({state}), model="smol", since=f.clock.now - 60)
            page = await list_jobs(f.link, wanted, 5, max_scripts=1)
            assert (ids(page), page.next_cursor) == ([job_id], None)
        assert page.jobs[0].outcome == "held: outage"
        assert page.jobs[0].why == "smol: its breaker is open"

    fleet(story)


def test_the_list_forgets_jobs_that_redis_has_forgotten_and_regains_those_that_it_has_lost(fleet):
    async def story(f):
        await accept_several(f, "job-00001", "job-00002")
        f.store.delete("of:job:job-00001", "of:prompt:job-00001")
        f.store.zadd("of:jobs:failed", {"job-00001": 1})
        f.store.zrem("of:jobs", "job-00002")
        await audit(f.link)
        assert f.store.zrange("of:jobs", 0, -1) == [b"job-00002"]
        assert f.store.exists("of:jobs:failed") == 0
        assert ids(await list_jobs(f.link, JobFilter(), 5)) == ["job-00002"]

    fleet(story)


def test_an_id_is_not_of_a_job_that_is_gone_and_several_jobs_are_described(fleet):
    async def story(f):
        await accept_several(f, "8f21-aaaa", "8f21-bbbb", "8f21-cccc")
        f.store.delete("of:job:8f21-aaaa")
        f.store.hset("of:job:8f21-cccc", "accepted", "soon")
        with pytest.raises(AmbiguousId, match=r"8f21-bbbb \(queued, -/background, of tests\), 8f21-cccc\. Type"):
            await find_job(f.link, "8f21")
        with pytest.raises(UnknownJob):
            await find_job(f.link, "8f21-a")
        assert await find_job(f.link, "8f21-c") == "8f21-cccc"

    fleet(story)
