"""The judge of an outage run finds what it must find: each witness is forged in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.judge.evidence import gather
from tests.chaos.judge.notification_checks import degraded_to_notified, fallen_to_decided, submitted_to_notified
from tests.chaos.judge.outage_verdict import account, judge
from tests.chaos.outage_witnesses import BEGAN, DONE, FELL, HELD, RELEASED, Witnesses, result_of


@pytest.fixture
def witnesses(tmp_path: Path, redis_url: str) -> Iterator[Witnesses]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:
        yield Witnesses(tmp_path, store)


def test_the_judge_passes_a_good_run(witnesses):
    assert witnesses.broken() == []


def test_every_job_is_in_one_column_of_the_account(witnesses):
    assert account(witnesses.evidence()) == {"interactive": {"answered after a fall": 4, "degraded": 1}}


def lose(run: Witnesses) -> None:
    del run.results["j-later"]
    run.given.remove("j-later")
    run.store.zrem("rq:finished:gpu.alpha.interactive", "j-later")
    run.store.hset("of:job:j-later", "state", "queued")


def hold_without_a_reason(run: Witnesses) -> None:
    lose(run)
    run.store.hset("of:job:j-later", "state", "held")
    run.store.zadd("rq:deferred:degrade", {"j-later": 1})


def another_jobs_answer(run: Witnesses) -> None:
    run.results["j-later"] = result_of("j-wait")


def degraded_instead_of_held(run: Witnesses) -> None:
    run.results["j-wait"] = result_of("j-brief")
    next(row for row in run.notified if row["job"] == "j-wait" and row["event"] == "done")["status"] = "degraded"


def failed(run: Witnesses) -> None:
    run.results["j-later"]["status"] = "failed"
    next(row for row in run.notified if row["job"] == "j-later")["status"] = "failed"


def fall_again(run: Witnesses) -> None:
    run.stories["j-wait"].insert(2, {"event": "fallen", "at": BEGAN + FELL + 100})


def notified_late(run: Witnesses) -> None:
    row = next(row for row in run.notified if row["event"] == "degraded")
    row["at"] = BEGAN + HELD + 2500


def all_at_once(run: Witnesses) -> None:
    for event in run.stories["j-inbox"][4:]:
        event["at"] -= 290


def never_released(run: Witnesses) -> None:
    for job in ("j-wait", "j-inbox"):
        run.stories[job] = [event for event in run.stories[job] if "why" not in event]
    run.incidents["outage-1"]["replayed"] = 2


def drowned(run: Witnesses) -> None:
    for _ in range(4):
        run.calls.append(("two", "j-hook", BEGAN + RELEASED + 620, BEGAN + RELEASED + 700))


def open_still(run: Witnesses) -> None:
    run.incidents["outage-1"]["ended"] = ""


SPOILT: dict[str, tuple[Callable[[Witnesses], Any], str]] = {
    "of 5 accepted jobs, none is lost": (lose, "j-later"),
    "of 5 accepted jobs, none is lost (nor held for no reason)": (hold_without_a_reason, "j-later"),
    "no job was given two terminal results": (lambda run: run.given.append("j-wait"), "j-wait"),
    "every result is in the server's own log": (lambda run: run.given.remove("j-wait"), "j-wait"),
    "every job that ended is in exactly one of rq's terminal registries": (
        lambda run: run.store.zadd("rq:failed:gpu.alpha.interactive", {"j-wait": 1}), "j-wait"),
    "no job failed, expired or was cancelled": (failed, "j-later (failed)"),
    "nothing is left in a queue, in progress, leased, or waiting to be posted": (
        lambda run: run.store.zadd("of:outbox", {"job:j-hook:done": 1}), "of:outbox (1)"),
    "every answer is the answer to its own job": (another_jobs_answer, "j-later"),
    "every answer was given by an upstream, by its own log": (lambda run: run.calls.pop(0), "j-wait"),
    "only jobs of the role that wants a quick reply ended degraded": (degraded_instead_of_held, "j-wait"),
    "each of 6 falls was recorded once": (
        lambda run: run.falls.append("j-wait"), "j-wait: fell 1 times, recorded 2"),
    "each of 5 falls was recorded once": (fall_again, "j-wait: fell 2 times, recorded 1"),
    "the incidents count every fall once": (
        lambda run: run.incidents["outage-1"].update(falls=6), "6 counted, 5 recorded"),
    "the incidents count every replay once": (
        lambda run: run.incidents["outage-1"].update(replayed=5), "5 counted, 4 released"),
    "every caller that waited or asked later received one end, the stored one": (
        lambda run: run.notify("j-wait", "wait", "done", DONE, status="failed"),
        "j-wait: received ['answered', 'failed']; stored answered"),
    "every end of a job with an inbox was written there once": (
        lambda run: run.inbox.append(("j-inbox", "done")), "j-inbox: 2 entries"),
    "every end in an inbox was read by its producer": (
        lambda run: run.notified.remove(next(row for row in run.notified if row["channel"] == "inbox")), "j-inbox"),
    "every end of a job with a webhook was delivered": (lambda run: run.hooks.pop(), "j-hook"),
    "no webhook reported two ends, nor one end under two ids": (
        lambda run: run.hooks.append(run.hook("done", "m2", body="another")), "j-hook"),
    "no webhook reported two ends, nor one end under two ids (ids)": (
        lambda run: run.hooks.append(run.hook("done", "m3")), "j-hook"),
    "interactive callers were notified of `degraded` within 2 s of the decision": (notified_late, "2.50 s"),
    "people were notified once of the outage, and once of its end": (
        lambda run: run.posts.append(run.post("2 jobs fell: no model can be asked", 9000.0)), "2 and 1"),
    "people were notified once of the outage, and once of its end (never of its end)": (
        lambda run: run.posts.pop(), "1 and 0"),
    "the outage was one incident, which has ended": (open_still, "outage-1"),
    "alpha got 1 held job first, one more for each answer, 3 at most": (
        all_at_once, "j-inbox: 2 at once of 1 at 1800000060010"),
    "alpha got 1 held job first, one more for each answer, 3 at most (none at all)": (never_released, "0 released"),
    "two got no more of them at once, by its own log": (drowned, "5 at most"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_broken_promise_is_found(witnesses, name):
    spoil, evidence = SPOILT[name]
    spoil(witnesses)
    broken = {promise.name: " ".join([promise.finding, *promise.examples]) for promise in witnesses.broken()}
    assert evidence in broken.get(name.partition(" (")[0], f"not among {list(broken)}")


def test_a_job_held_for_a_stated_reason_is_accounted_for(witnesses):
    hold_without_a_reason(witnesses)
    witnesses.store.hset("of:job:j-later", "held_for", "budget")
    assert account(witnesses.evidence())["interactive"]["held"] == 1


def test_a_notice_repeated_because_its_poster_was_killed_is_excused(witnesses):
    witnesses.posts.insert(1, witnesses.post("2 jobs fell: no model can be asked", 9000.0))
    witnesses.faults.append({"kind": "degrade", "began": BEGAN + 2500.0})
    (promise,) = [promise for promise in judge(witnesses.evidence()) if promise.name.startswith("people were notified")]
    assert (promise.kept, promise.finding) == (True, "2 and 1, 1 of them repeated because their poster was killed")


def test_a_notification_delayed_by_a_kill_of_valkey_is_separate(witnesses):
    notified_late(witnesses)
    witnesses.faults.append({"kind": "outage", "began": BEGAN + HELD + 10, "ended": BEGAN + HELD + 1500})
    evidence = witnesses.evidence()
    assert (degraded_to_notified(evidence, "wait").clear, degraded_to_notified(evidence, "wait").disturbed) == (
        [],
        [2.5],
    )


def test_the_wait_for_a_reply_counts_jobs_submitted_during_the_outage(witnesses):
    witnesses.faults.append({"kind": "backends", "began": BEGAN - 5.0, "ended": BEGAN + 50_000.0})
    assert submitted_to_notified(witnesses.evidence()) == [(HELD + 50) / 1000]


def test_the_wait_for_a_reply_omits_jobs_submitted_before_the_outage(witnesses):
    witnesses.faults.append({"kind": "backends", "began": BEGAN + 5.0, "ended": BEGAN + 50_000.0})
    assert submitted_to_notified(witnesses.evidence()) == []


def test_a_fall_delayed_by_a_killed_degrade_worker_is_separate(witnesses):
    again = {"event": "queued", "at": BEGAN + FELL + 200, "queue": "degrade", "why": "its worker died"}
    witnesses.stories["j-wait"].insert(2, again)
    delays = fallen_to_decided(witnesses.evidence())
    assert (delays.clear, delays.disturbed) == ([0.3] * 4, [0.3])


def test_a_fall_overtaken_by_a_late_answer_needs_no_record(witnesses):
    witnesses.stories["j-brief"][-1]["status"] = "answered"
    witnesses.falls.remove("j-brief")
    witnesses.incidents["outage-1"]["falls"] = 4
    assert witnesses.broken() == []


def test_a_killed_call_has_no_end_and_no_answer(witnesses):
    evidence = witnesses.evidence()
    (witnesses.directory / "calls-one-2.jsonl").write_text(
        '{"event": "received", "call": 1, "job": "x", "wall": 5}\n{"ev'
    )
    again = gather(witnesses.directory, witnesses.store)
    assert next(call for call in again.calls if call not in evidence.calls).ended is None
