"""A small fault run keeps every promise, and its judge finds what it must find: each witness is forged in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.chaos_support import ROOT, encode_resp, forge_call, forge_run, forge_stories, run_to_verdict
from tests.chaos.judge.evidence import gather
from tests.chaos.judge.fault_kinds import KINDS, Keeps
from tests.chaos.judge.fault_verdict import judge

JOBS = ("job-1", "job-2", "job-3")
BEGAN = 1_800_000_000_000.0
OPENED, PROBED, AGAIN, HEALED, HALF, CLOSED = (BEGAN + ms for ms in (300, 2300, 2310, 4000, 6310, 6900))


@dataclass
class Witnesses:
    """What a drill leaves behind. Two jobs met the fault, one was moved before its call; tests spoil it."""

    directory: Path
    store: redis.Redis
    kind: str = "500"
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    changes: list[tuple[float, str]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    slots: int = 2

    def __post_init__(self) -> None:
        for job in (*JOBS, "after-1"):
            self.results[job] = self.result(job, "good" if job != "after-1" else self.kind)
            self.events[job] = [{"event": "queued", "at": BEGAN}]
            self.calls.append(self.call(job, "good" if job != "after-1" else self.kind, HEALED + 3000))
        for number, job in enumerate(JOBS[:2]):
            error = sorted(KINDS[self.kind].errors)[0]
            failed = {"model": self.kind, "backend": self.kind, "error": error, "detail": "reason", "why": "first"}
            self.results[job]["attempts"].insert(0, failed)
            self.claim(job, BEGAN + 100 + number)
            self.calls.append(self.call(job, self.kind, BEGAN + 110 + number))
        self.events[JOBS[2]].append({"event": "queued", "at": OPENED, "why": f"{self.kind}: its breaker is open"})
        self.changes = [
            (OPENED, "open"),
            (PROBED, "half_open"),
            (AGAIN, "open"),
            (HALF, "half_open"),
            (CLOSED, "closed"),
        ]
        for at in (PROBED, HALF, HALF + 200):
            self.calls.append(self.call("Reply with one word: ready.", self.kind, at + 1) | {"probe": True})

    def result(self, job: str, by: str) -> dict[str, Any]:
        choice = {"message": {"content": f"{by} answers {job}"}}
        attempts = [{"model": by, "backend": by, "why": "fallback (overload) after 500: overloaded"}]
        return {"v": 2, "status": "answered", "body": {"choices": [choice]}, "attempts": attempts, "took": 0.5}

    def call(self, job: str, upstream: str, at: float) -> dict[str, Any]:
        return {"upstream": upstream, "job": job, "probe": False, "healed": at > HEALED,
                "began_ms": at, "ended_ms": at + 10}  # fmt: skip

    def claim(self, job: str, at: float) -> None:
        self.events[job].append({"event": "started", "at": at, "backend": self.kind})

    def violations(self) -> list[str]:
        aof = forge_stories(self.events)
        for at, to in self.changes:
            row = {"at": at, "target": f"{self.kind}/{self.kind}", "from": "", "to": to, "why": "so"}
            aof += encode_resp("LPUSH", "of:breaker-history", json.dumps(row))
        calls = [row for n, call in enumerate(self.calls) for row in forge_call(n, **call)]
        accepted = [{"id": job} for job in (*JOBS, "after-1")]
        forge_run(self.directory, self.store, aof, self.results, {"calls-broken-1": calls, "accepted": accepted})
        case = {"name": self.kind, "jobs": JOBS, "after": ["after-1"], "slots": self.slots, "consecutive_failures": 5,
                "began": BEGAN, "healed": HEALED}  # fmt: skip
        (self.directory / "case.json").write_text(json.dumps(case))
        return [text for promise in judge(gather(self.directory, self.store)) for text in promise.examples]


@pytest.fixture
def witnesses(tmp_path: Path, redis_url: str) -> Iterator[Callable[..., Witnesses]]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:
        yield lambda **more: Witnesses(tmp_path, store, **more)


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.keeps is not Keeps.COOLDOWN])
def test_the_judge_passes_a_good_run(witnesses, kind):
    run = witnesses(kind=kind)
    if not KINDS[kind].listens:
        run.calls = [call for call in run.calls if call["upstream"] == "good" or call["healed"]]
    assert run.violations() == []


def cooling(run: Witnesses) -> None:
    run.changes = []
    run.calls = [call for call in run.calls if not call["probe"]]


def test_the_judge_passes_a_kept_cooldown(witnesses):
    run = witnesses(kind="429-retry-after")
    cooling(run)
    assert run.violations() == []


def lose(run: Witnesses) -> None:
    del run.results[JOBS[0]]
    run.store.zadd("of:unfinished", {JOBS[0]: 1})


def by_the_broken_one(run: Witnesses) -> None:
    run.results[JOBS[2]] = run.result(JOBS[2], run.kind)


def another_jobs_answer(run: Witnesses) -> None:
    run.results[JOBS[2]]["body"]["choices"][0]["message"]["content"] = f"good answers {JOBS[1]}"


def while_open(run: Witnesses) -> None:
    run.claim(JOBS[2], OPENED + 1500)
    run.calls.append(run.call(JOBS[2], run.kind, OPENED + 1510))


def too_many(run: Witnesses) -> None:
    for number in range(5):
        run.claim(JOBS[2], BEGAN + 200 + number)


SPOILT = {
    "1 jobs have no result: job-1": lose,
    "1 jobs are still open: job-1": lose,
    "1 jobs did not end answered: job-2 (failed)": lambda run: run.results[JOBS[1]].update(status="failed"),
    "1 answers are not the good one's: job-3": another_jobs_answer,
    "1 jobs are recorded as answered by another upstream: job-3": by_the_broken_one,
    "1 answers are not in the good one's log: job-1": lambda run: run.calls.pop(0),
    "1 attempts were recorded with another error than the fault's: job-1: 500: timeout (reason)": (
        lambda run: run.results[JOBS[0]]["attempts"][0].update(error="timeout")
    ),
    "1 jobs do not record why the first model of their chain did not answer: job-3": (
        lambda run: (run.events[JOBS[2]].pop(), run.results[JOBS[2]]["attempts"][0].update(why="so"))
    ),
    "the jobs record 2 attempts at it, but its log has 3 calls": while_open,
    "1 jobs were claimed for it while its breaker was open: 1800000001800.0": while_open,
    "1 calls arrived at it while its breaker was open: job-3": while_open,
    "7 jobs were claimed for it before its breaker opened, not 6 at most": too_many,
    "1 probes went out while another was under way": (
        lambda run: run.calls.append(run.call("p", run.kind, PROBED + 5) | {"probe": True})
    ),
    "2 probes arrived in 1 half-open periods": (
        lambda run: run.calls.append(run.call("p", run.kind, PROBED + 500) | {"probe": True})
    ),
    "its breaker never opened": lambda run: run.changes.clear(),
    "1 times its breaker closed while it was broken": lambda run: run.changes.append((HEALED - 100, "closed")),
    "its breaker did not close after its repair": lambda run: run.changes.pop(),
    "its breaker closed 9.0 s after its repair, not within 8.0 s": (
        lambda run: run.changes.__setitem__(-1, (HEALED + 9000, "closed"))
    ),
    "1 jobs submitted after its repair were not answered by it: after-1 (good)": (
        lambda run: run.results.__setitem__("after-1", run.result("after-1", "good"))
    ),
}


@pytest.mark.parametrize("violation", SPOILT)
def test_a_violation_is_found(witnesses, violation):
    run = witnesses()
    SPOILT[violation](run)
    assert [text for text in run.violations() if text.startswith(violation)]


def test_a_call_that_was_claimed_in_time_may_arrive_late(witnesses):
    run = witnesses()
    next(call for call in run.calls if call["upstream"] == run.kind and not call["probe"] and not call["healed"])[
        "began_ms"
    ] = OPENED + 1500
    assert run.violations() == []


def test_a_broken_cooldown_is_found(witnesses):
    run = witnesses(kind="429-retry-after", slots=1)
    cooling(run)
    run.changes = [(OPENED, "open")]
    run.store.hset("of:blocked", "429-retry-after/429-retry-after cool", 1)
    assert run.violations() == [
        "1 times a breaker opened: so",
        "2 jobs were claimed for it within 2 s, not 1 at most",
        "its cooldown is still recorded, although it is over",
    ]


@pytest.mark.slow
def test_a_small_run_keeps_every_promise(short_directory):
    kinds = "500,truncated-stream,429-retry-after,refused,401"
    # About 45 s. Every wait of the run has a limit of its own, so that a slow machine gets a verdict, too.
    verdict = run_to_verdict(["faults", "--json", "--jobs", "60", "--kinds", kinds], short_directory)
    assert {kind["figures"]["answered"] for kind in verdict["kinds"]} == {60}


def test_an_unknown_kind_is_refused_with_the_known_ones():
    argv = [sys.executable, "-m", "tests.chaos", "faults", "--kinds", "500,meteor"]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "unknown kind 'meteor'. Known: 429-retry-after" in ran.stderr
