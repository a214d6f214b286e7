"""The judge of a run at the HTTP gateway finds what it must find: each witness is forged in turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.chaos_support import encode_resp, forge_call, forge_run, forge_stories
from tests.chaos.judge.evidence import gather
from tests.chaos.judge.gateway_verdict import judge, report

BEGAN = 1_800_000_000_000.0
ANSWERED, LEFT, RESUMED = "r000000", "r000001", "r000002"
JOBS = {ANSWERED: "job-a", LEFT: "job-l", RESUMED: "job-r"}


@dataclass
class Witnesses:
    """What a run leaves behind; a test spoils some of it. One request was answered, one left, one resumed."""

    directory: Path
    store: redis.Redis
    notes: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    stories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.note(ANSWERED, "answered")
        self.note(LEFT, "left")
        self.note(RESUMED, "answered")
        for number, request in enumerate(JOBS):
            self.calls += forge_call(number, request, BEGAN, BEGAN + 1000)
        self.results = {"job-a": "answered", "job-l": "cancelled", "job-r": "answered"}
        for where in ("live", "gateway 0", "gateway 1"):
            self.events += [self.event(where, number) for number in range(3)]

    def note(self, request: str, event: str, **more: Any) -> None:
        self.notes.append({"id": request, "event": event, "at": BEGAN, **more})

    def event(self, where: str, number: int, digest: str = "same") -> dict[str, Any]:
        return {"id": RESUMED, "where": where, "number": number, "type": "x", "digest": f"{digest}-{number}"}

    def broken(self) -> list[str]:
        """The names of the promises that the judge finds broken."""
        prompts = ((f"of:prompt:{job}", '{"v":2}\n{"x":"' + request + '"}') for request, job in JOBS.items())
        aof = b"".join(encode_resp("SET", *row) for row in prompts)
        given = {job: {"status": status} for job, status in self.results.items()}
        aof += b"".join(encode_resp("SET", f"of:result:{job}", json.dumps(row)) for job, row in given.items())
        aof += forge_stories(self.stories)
        files = {
            "requests": [{"id": request, "kind": self.kinds.get(request, "chat")} for request in JOBS],
            "client-0": self.notes, "events-0": self.events, "calls-mock-1": self.calls, "faults": self.faults,
        }  # fmt: skip
        forge_run(self.directory, self.store, aof, given, files)
        evidence = gather(self.directory, self.store)
        assert report(evidence)["figures"]["requests"] == len(JOBS)
        return [promise.name for promise in judge(evidence) if not promise.kept]


@pytest.fixture
def witnesses(tmp_path: Path, redis_url: str) -> Iterator[Witnesses]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:
        yield Witnesses(tmp_path, store)


def test_a_run_without_a_fault_keeps_every_promise(witnesses: Witnesses) -> None:
    assert witnesses.broken() == []


def test_a_request_without_an_answer_is_found(witnesses: Witnesses) -> None:
    witnesses.notes = witnesses.notes[1:]
    assert witnesses.broken() == ["of 3 requests, each got its own answer, or was left by its caller"]


def test_a_refusal_that_must_not_be_is_found(witnesses: Witnesses) -> None:
    witnesses.note(ANSWERED, "wrong", why="499: cancelled")
    assert witnesses.broken() == ["no request got what it must not get"]


def test_a_lost_job_is_found(witnesses: Witnesses) -> None:
    del witnesses.results["job-l"]
    assert witnesses.broken() == ["of 3 accepted jobs, none is lost"]


def test_an_orphan_is_found_and_a_held_job_is_none(witnesses: Witnesses) -> None:
    witnesses.store.zadd("of:unfinished", {"orphan": 1, "held": 1})
    witnesses.store.hset("of:job:orphan", "state", "started")
    witnesses.store.hset("of:job:held", "state", "held")
    assert witnesses.broken() == ["within 20 s of the last caller, no job runs or waits"]


def test_a_call_that_outlives_its_caller_by_more_than_20_s_is_found(witnesses: Witnesses) -> None:
    witnesses.calls += forge_call(9, LEFT, BEGAN, BEGAN + 21_000)
    witnesses.stories["job-l"] = [{"event": "queued", "worker": "w", "at": BEGAN}]  # a second call is excused
    assert witnesses.broken() == ["a call whose caller left for good ends within 20 s"]


def test_a_request_that_is_bought_twice_is_found(witnesses: Witnesses) -> None:
    witnesses.calls += forge_call(9, ANSWERED, BEGAN + 5000, BEGAN + 6000)
    assert witnesses.broken() == ["nothing is bought twice where a repeat came"]


@pytest.mark.parametrize("by", ["worker", "client", "leaving"])
def test_a_call_that_a_kill_cut_may_be_bought_again(witnesses: Witnesses, by: str) -> None:
    witnesses.calls += forge_call(9, ANSWERED, BEGAN + 5000, BEGAN + 6000)
    if by == "worker":
        witnesses.stories["job-a"] = [{"event": "queued", "worker": "w", "at": BEGAN}]
    elif by == "leaving":
        witnesses.note(ANSWERED, "leaving")
        witnesses.notes[-1]["at"] = BEGAN + 4000
    else:
        witnesses.faults.append({"kind": "client", "began": BEGAN + 1500, "job": "client-0"})
    assert witnesses.broken() == []


@pytest.mark.parametrize(("noted", "is_excused"), [(["repeated"], True), (["repeated", "broken"], False), ([], False)])
def test_a_client_that_dies_during_a_repeat_may_have_read_the_answer(
    witnesses: Witnesses, noted: list[str], is_excused: bool
) -> None:
    """The call has ended 3 s before. A repeat reads its answer at once."""
    witnesses.notes = [note for note in witnesses.notes if note["id"] != ANSWERED]
    for event in noted:
        witnesses.note(ANSWERED, event, why="503: no answer yet")
        witnesses.notes[-1]["at"] = BEGAN + 3900
    witnesses.note(ANSWERED, "answered")
    witnesses.notes[-1]["at"] = BEGAN + 6100
    witnesses.calls += forge_call(9, ANSWERED, BEGAN + 5000, BEGAN + 6000)
    witnesses.faults.append({"kind": "client", "began": BEGAN + 4000, "job": "client-0"})
    assert (witnesses.broken() == []) is is_excused


@pytest.mark.parametrize(("kind", "is_excused"), [("background", True), ("chat", False)])
def test_a_client_that_dies_when_its_job_is_accepted_may_have_read_the_id_of_a_background_job_alone(
    witnesses: Witnesses, kind: str, is_excused: bool
) -> None:
    witnesses.kinds[ANSWERED] = kind
    witnesses.stories["job-a"] = [{"event": "queued", "at": BEGAN - 3000}]
    witnesses.calls += forge_call(9, ANSWERED, BEGAN + 5000, BEGAN + 6000)
    witnesses.faults.append({"kind": "client", "began": BEGAN - 3007, "ended": BEGAN - 2990, "job": "client-0"})
    assert (witnesses.broken() == []) is is_excused


def test_an_event_that_is_missing_or_comes_twice_is_found(witnesses: Witnesses) -> None:
    witnesses.events.insert(1, witnesses.event("live", 0))
    assert "of 1 resumed Responses, each gave every event once" in witnesses.broken()


def test_a_gateway_that_numbers_otherwise_is_found(witnesses: Witnesses) -> None:
    witnesses.events[-1] = witnesses.event("gateway 1", 2, "other")
    assert witnesses.broken() == ["every gateway numbers the events of a Response alike"]
