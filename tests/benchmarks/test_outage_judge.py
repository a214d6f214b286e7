"""The judge of an outage drill sees what it is there to see: each witness is forged in turn."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.outage_drilling.evidence import gather
from benchmarks.outage_drilling.telling import asked_to_heard, degraded_after, heard_after
from benchmarks.outage_drilling.verdict import account, judge
from tests.benchmarks.outage_witnesses import BEGAN, CASE, DONE, FELL, HELD, RELEASED, Witnesses, result_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def witnesses(tmp_path: Path, redis_url: str) -> Iterator[Witnesses]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:
        yield Witnesses(tmp_path, store)


def test_a_drill_in_which_all_was_well_is_passed(witnesses):
    assert witnesses.broken() == []


def test_every_job_is_in_one_column_of_the_account(witnesses):
    told = account(witnesses.evidence())
    assert told == {"interactive": {"answered after a fall": 4, "degraded": 1}}


def lose(told: Witnesses) -> None:
    del told.results["j-later"]
    told.given.remove("j-later")
    told.store.zrem("rq:finished:gpu.alpha.interactive", "j-later")
    told.store.hset("of:job:j-later", "state", "queued")


def hold_without_a_reason(told: Witnesses) -> None:
    lose(told)
    told.store.hset("of:job:j-later", "state", "held")
    told.store.zadd("rq:deferred:degrade", {"j-later": 1})


def another_jobs_answer(told: Witnesses) -> None:
    told.results["j-later"] = result_of("j-wait")


def degraded_instead_of_held(told: Witnesses) -> None:
    told.results["j-wait"] = result_of("j-brief")
    next(row for row in told.heard if row["job"] == "j-wait" and row["event"] == "done")["status"] = "degraded"


def failed(told: Witnesses) -> None:
    told.results["j-later"]["status"] = "failed"
    next(row for row in told.heard if row["job"] == "j-later")["status"] = "failed"


def fall_again(told: Witnesses) -> None:
    told.stories["j-wait"].insert(2, {"event": "fallen", "at": BEGAN + FELL + 100})


def heard_late(told: Witnesses) -> None:
    row = next(row for row in told.heard if row["event"] == "degraded")
    row["at"] = BEGAN + HELD + 2500


def all_at_once(told: Witnesses) -> None:
    for event in told.stories["j-inbox"][4:]:
        event["at"] -= 290


def never_released(told: Witnesses) -> None:
    for job in ("j-wait", "j-inbox"):
        told.stories[job] = [event for event in told.stories[job] if "why" not in event]
    told.incidents["outage-1"]["replayed"] = 2


def drowned(told: Witnesses) -> None:
    for _ in range(4):
        told.calls.append(("two", "j-hook", BEGAN + RELEASED + 620, BEGAN + RELEASED + 700))


def open_still(told: Witnesses) -> None:
    told.incidents["outage-1"]["ended"] = ""


SPOILT: dict[str, tuple[Callable[[Witnesses], Any], str]] = {
    "of 5 accepted jobs, none is lost": (lose, "j-later"),
    "of 5 accepted jobs, none is lost (nor held for no reason)": (hold_without_a_reason, "j-later"),
    "no job was given two terminal results": (lambda told: told.given.append("j-wait"), "j-wait"),
    "every result is in the server's own log": (lambda told: told.given.remove("j-wait"), "j-wait"),
    "every job that ended is in one of rq's registries, and nowhere else": (
        lambda told: told.store.zadd("rq:failed:gpu.alpha.interactive", {"j-wait": 1}), "j-wait"),
    "no job failed or expired for want of a backend": (failed, "j-later (failed)"),
    "nothing is left in a queue, in progress, or waiting to be posted": (
        lambda told: told.store.zadd("of:outbox", {"job:j-hook:done": 1}), "of:outbox (1)"),
    "every answer is the answer to its own job": (another_jobs_answer, "j-later"),
    "every answer was given by an upstream, by its own log": (lambda told: told.calls.pop(0), "j-wait"),
    "no job ended degraded whose caller would rather have waited": (degraded_instead_of_held, "j-wait"),
    "each of 6 falls was recorded once": (
        lambda told: told.falls.append("j-wait"), "j-wait: fell 1 times, recorded 2"),
    "each of 5 falls was recorded once": (fall_again, "j-wait: fell 2 times, recorded 1"),
    "the incidents count every fall once": (
        lambda told: told.incidents["outage-1"].update(falls=6), "6 counted, 5 recorded"),
    "the incidents count every replay once": (
        lambda told: told.incidents["outage-1"].update(replayed=5), "5 counted, 4 seen"),
    "whoever waited or asked later heard one end, the one that is kept": (
        lambda told: told.hear("j-wait", "wait", "done", DONE, status="failed"),
        "j-wait: heard ['answered', 'failed'], kept answered"),
    "every end of a job with an inbox was put there once": (
        lambda told: told.inbox.append(("j-inbox", "done")), "j-inbox: 2 entries"),
    "and was read from it by its producer": (
        lambda told: told.heard.remove(next(row for row in told.heard if row["by"] == "inbox")), "j-inbox"),
    "every end of a job with a webhook was delivered": (lambda told: told.hooks.pop(), "j-hook"),
    "no webhook told of two ends, nor of one under two ids": (
        lambda told: told.hooks.append(told.hook("done", "m2", body="another")), "j-hook"),
    "no webhook told of two ends, nor of one under two ids (ids)": (
        lambda told: told.hooks.append(told.hook("done", "m3")), "j-hook"),
    "interactive callers heard that they were degraded within 2 s of the decision": (heard_late, "2.50 s"),
    "people were told of one outage, and of its end once": (
        lambda told: told.posts.append(told.post("2 jobs fell: no model can be asked", 9000.0)), "2 and 1"),
    "people were told of one outage, and of its end once (never of its end)": (
        lambda told: told.posts.pop(), "1 and 0"),
    "the outage was one incident, and it is over": (open_still, "outage-1"),
    "alpha got 1 held job first, one more for each answered, 3 at most": (
        all_at_once, "j-inbox: 2 at once of 1 at 1800000060010"),
    "alpha got 1 held job first, one more for each answered, 3 at most (none at all)": (never_released, "0 released"),
    "two heard no more of them at once, by its own log": (drowned, "5 at most"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_what_should_not_have_been_is_found(witnesses, name):
    spoil, found = SPOILT[name]
    spoil(witnesses)
    broken = {promise.name: " ".join([promise.told, *promise.named]) for promise in witnesses.broken()}
    assert found in broken.get(name.partition(" (")[0], f"not among {list(broken)}")


def test_a_job_that_is_held_for_a_stated_reason_is_accounted_for(witnesses):
    hold_without_a_reason(witnesses)
    witnesses.store.hset("of:job:j-later", "held_for", "budget")
    assert account(witnesses.evidence())["interactive"]["held"] == 1


def test_a_notice_that_a_killed_poster_sent_again_is_told_apart(witnesses):
    witnesses.posts.insert(1, witnesses.post("2 jobs fell: no model can be asked", 9000.0))
    witnesses.faults.append({"kind": "degrade", "began": BEGAN + 2500.0})
    (promise,) = [promise for promise in judge(witnesses.evidence()) if promise.name.startswith("people were told")]
    assert (promise.kept, promise.told) == (True, "2 and 1, 1 of them again because their poster was killed")


def test_who_heard_late_because_valkey_was_killed_is_told_apart(witnesses):
    heard_late(witnesses)
    witnesses.faults.append({"kind": "outage", "began": BEGAN + HELD + 10, "ended": BEGAN + HELD + 1500})
    evidence = witnesses.evidence()
    assert (heard_after(evidence, "wait").clear, heard_after(evidence, "wait").apart) == ([], [2.5])


def test_how_long_a_caller_waited_for_a_reply_is_told_of_those_who_asked_in_the_outage(witnesses):
    witnesses.faults.append({"kind": "backends", "began": BEGAN - 5.0, "ended": BEGAN + 50_000.0})
    assert asked_to_heard(witnesses.evidence()) == [(HELD + 50) / 1000]


def test_who_asked_before_the_outage_is_not_counted_among_those_who_asked_in_it(witnesses):
    witnesses.faults.append({"kind": "backends", "began": BEGAN + 5.0, "ended": BEGAN + 50_000.0})
    assert asked_to_heard(witnesses.evidence()) == []


def test_a_fall_that_waited_for_a_killed_degrade_worker_is_told_apart(witnesses):
    again = {"event": "queued", "at": BEGAN + FELL + 200, "queue": "degrade", "why": "its worker died"}
    witnesses.stories["j-wait"].insert(2, again)
    delays = degraded_after(witnesses.evidence())
    assert (delays.clear, delays.apart) == ([0.3] * 4, [0.3])


def test_a_fall_that_a_late_answer_overtook_needs_no_record(witnesses):
    witnesses.stories["j-brief"][-1]["status"] = "answered"
    witnesses.falls.remove("j-brief")
    witnesses.incidents["outage-1"]["falls"] = 4
    assert witnesses.broken() == []


def test_a_call_that_was_killed_has_no_end_and_no_answer(witnesses):
    evidence = witnesses.evidence()
    (witnesses.directory / "calls-one-2.jsonl").write_text(
        '{"event": "received", "call": 1, "job": "x", "wall": 5}\n{"ev'
    )
    again = gather(CASE, witnesses.directory, witnesses.store)
    assert next(call for call in again.calls if call not in evidence.calls).ended is None


@pytest.mark.parametrize("module", ["evidence", "written", "ramp", "telling", "notices", "verdict"])
def test_the_judge_imports_nothing_of_what_it_judges(module):
    tree = ast.parse((ROOT / "benchmarks" / "outage_drilling" / f"{module}.py").read_text())
    names = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    known = {*sys.stdlib_module_names, "benchmarks"}
    assert {name for name in names if name.split(".")[0] not in known} == set()
