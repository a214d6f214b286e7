"""The judge of a torture run finds what it must find: each witness is forged in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.chaos_support import ROOT, encode_resp, find_foreign_imports, forge_call, forge_run, forge_stories
from tests.chaos.judge.__main__ import main
from tests.chaos.judge.aof import UnreadableLog, commands, read
from tests.chaos.judge.evidence import Evidence, gather
from tests.chaos.judge.promise import Promise
from tests.chaos.judge.torture_verdict import judge, report

QUEUE = "gpu.coder.background"
JOBS = ("job-00000001", "job-00000002", "job-00000003")
KILLED_AT = 1_800_000_000_000.0
WORKER = "of-gpu-host-1-4711-a1b2c3"


def result_of(job: str) -> dict[str, Any]:
    choice = {"message": {"content": f"This is the answer to {job}"}}
    return {"v": 1, "status": "answered", "body": {"choices": [choice]}}


def given(job: str) -> bytes:
    return encode_resp("SET", f"of:result:{job}", json.dumps(result_of(job)), "PXAT", "1")


def takeover(job: str, seconds: float, why: str = "its worker died") -> bytes:
    event = {"event": "queued", "at": KILLED_AT + seconds * 1000, "why": why, "worker": WORKER}
    return forge_stories({job: [event]})


@dataclass
class Witnesses:
    """What a run leaves behind; a test spoils some of it. One worker was killed, and one job came back from it."""

    directory: Path
    url: str
    store: redis.Redis
    accepted: list[str] = field(default_factory=lambda: list(JOBS))
    results: dict[str, Any] = field(default_factory=lambda: {job: result_of(job) for job in JOBS})
    called: list[str] = field(default_factory=lambda: [*JOBS, JOBS[0]])
    faults: list[dict[str, Any]] = field(default_factory=lambda: [{"kind": "kill", "pid": 4711, "began": KILLED_AT}])
    aof: bytes = b""

    def __post_init__(self) -> None:
        self.aof = takeover(JOBS[0], 9.0)
        for job in JOBS:
            self.aof += encode_resp("MULTI") + given(job) + encode_resp("EXEC")
        self.store.zadd(f"rq:finished:{QUEUE}", {job: 1 for job in JOBS})
        self.store.sadd("rq:queues", f"rq:queue:{QUEUE}")
        self.store.hset("of:counters", mapping={"accepted": 3})
        ends = {"answered 2.5": 1, "answered 5": 1, "fell_back 5": 1, "ms": 9000}
        self.store.hset("of:job-counts", mapping={f"chat batch - mock {cell}": n for cell, n in ends.items()})

    def write(self) -> list[str]:
        """Write everything down; the arguments of the judge."""
        calls = [row for n, job in enumerate(self.called) for row in forge_call(n, job, KILLED_AT, KILLED_AT)]
        files = {"accepted": [{"id": job} for job in self.accepted], "faults": self.faults, "calls-mock-1": calls}
        forge_run(self.directory, self.store, self.aof, self.results, files)
        (self.directory / "appendonlydir" / "appendonly.aof.1.base.rdb").write_bytes(b"REDIS")
        return ["torture", str(self.directory), "--url", self.url]

    def evidence(self) -> Evidence:
        self.write()
        return gather(self.directory, self.store)

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = report(self.evidence())["figures"]
        return figures

    def broken(self) -> list[Promise]:
        """The promises that the judge finds broken."""
        evidence = self.evidence()
        assert report(evidence)["figures"]["accepted"] == len(self.accepted)
        return [promise for promise in judge(evidence) if not promise.kept]

    def only_broken(self) -> Promise:
        (promise,) = self.broken()
        return promise


@pytest.fixture
def witnesses(tmp_path: Path, redis_url: str) -> Iterator[Witnesses]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as store:
        yield Witnesses(tmp_path, redis_url, store)


def test_the_judge_imports_nothing_of_what_it_judges() -> None:
    assert find_foreign_imports(ROOT / "tests" / "chaos" / "judge") == set()


def test_the_judge_passes_a_good_run(witnesses: Witnesses) -> None:
    argv = [sys.executable, "-m", "tests.chaos.judge", *witnesses.write()]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["kept"], done.stderr) == (0, True, "")
    assert verdict["figures"]["kill_to_requeued_s"] == {"n": 1, "p50": 9.0, "p100": 9.0}
    assert verdict["figures"]["jobs_called_twice_or_more"] == 1


def test_the_servers_log_reveals_a_second_result(witnesses: Witnesses) -> None:
    witnesses.aof += given(JOBS[1])
    promise = witnesses.only_broken()
    assert (promise.name, promise.examples) == ("no job was given two terminal results", (JOBS[1],))


def test_an_accepted_job_without_a_result_is_lost(witnesses: Witnesses) -> None:
    del witnesses.results[JOBS[2]]
    (promise, *_) = witnesses.broken()
    assert (promise.name, promise.examples) == ("of 3 accepted jobs, none is lost", (JOBS[2],))


def test_a_job_unknown_to_the_server_is_lost(witnesses: Witnesses) -> None:
    witnesses.accepted.append("job-00000099")
    names = {promise.name for promise in witnesses.broken() if "job-00000099" in promise.examples}
    assert names == {"of 4 accepted jobs, none is lost", "every job was answered"}


def test_a_result_without_a_receipt_is_found(witnesses: Witnesses) -> None:
    witnesses.accepted.remove(JOBS[2])
    names = [promise.name for promise in witnesses.broken()]
    assert names == ["no result for a job without a receipt", "the counters agree"]


def test_an_answer_to_another_job_is_found(witnesses: Witnesses) -> None:
    witnesses.results[JOBS[0]] = result_of(JOBS[1])
    assert witnesses.only_broken().name == "every answer is the answer to its own job"


def test_a_slow_takeover_is_found(witnesses: Witnesses) -> None:
    witnesses.aof += takeover(JOBS[1], 15.2)
    promise = witnesses.only_broken()
    assert promise.name == "kill to requeued within 15 s"
    assert "p100 15.2 s" in promise.finding


def test_a_takeover_near_an_outage_is_reported_separately(witnesses: Witnesses) -> None:
    witnesses.faults.append({"kind": "kill", "pid": 4712, "began": KILLED_AT + 60_000})
    witnesses.faults.append({"kind": "outage", "began": KILLED_AT + 70_000, "ended": KILLED_AT + 77_000})
    event = {"event": "queued", "at": KILLED_AT + 90_000, "why": "its worker died", "worker": "of-gpu-host-4712-ffffff"}
    witnesses.aof += forge_stories({JOBS[1]: [event]})
    assert witnesses.broken() == []
    assert witnesses.figures()["kill_to_requeued_near_outage_s"] == {"n": 1, "p50": 30.0, "p100": 30.0}


def test_a_worker_that_was_frozen_then_killed_is_judged_by_its_kill(witnesses: Witnesses) -> None:
    witnesses.faults.insert(0, {"kind": "frozen", "pid": 4711, "began": KILLED_AT - 40_000, "ended": KILLED_AT})
    witnesses.store.hset("of:counters", "late", 1)
    assert witnesses.broken() == []


def test_kills_without_any_takeover_prove_nothing(witnesses: Witnesses) -> None:
    witnesses.faults[0]["pid"] = 1
    assert witnesses.only_broken().finding == "no takeover"


def test_a_job_left_in_a_queue_or_leased_is_found(witnesses: Witnesses) -> None:
    witnesses.store.rpush(f"rq:queue:{QUEUE}", JOBS[0])
    witnesses.store.zadd("of:leases:mock", {f"{JOBS[0]}:x": 1})
    assert set(witnesses.only_broken().examples) == {f"rq:queue:{QUEUE} (1)", "of:leases:mock (1)"}


def test_a_job_in_two_terminal_registries_is_found(witnesses: Witnesses) -> None:
    witnesses.store.zadd(f"rq:failed:{QUEUE}", {JOBS[0]: 1})
    assert witnesses.only_broken().examples == (JOBS[0],)


def test_an_answer_without_a_call_is_found(witnesses: Witnesses) -> None:
    witnesses.called.remove(JOBS[2])
    assert witnesses.only_broken().name == "every answer was given by an upstream, by its own log"


def test_an_upstream_that_was_killed_just_after_its_answer_has_given_it(witnesses: Witnesses) -> None:
    evidence = witnesses.evidence()
    cut = [replace(call, answered=False, ended=None) if call.job == JOBS[2] else call for call in evidence.calls]
    assert [promise for promise in judge(replace(evidence, calls=cut)) if not promise.kept] == []


def test_a_late_settle_of_a_frozen_worker_must_be_refused(witnesses: Witnesses) -> None:
    witnesses.faults.append({"kind": "frozen", "pid": 5, "began": KILLED_AT, "ended": KILLED_AT + 15_000})
    assert witnesses.only_broken().finding == "0 refused"
    witnesses.store.hset("of:counters", "late", 1)
    assert witnesses.broken() == []


def test_a_lost_aimed_job_is_found(witnesses: Witnesses) -> None:
    witnesses.faults.append({"kind": "aimed", "pid": 5, "began": KILLED_AT, "job": "aim-00000001"})
    assert witnesses.only_broken().examples == ("aim-00000001",)


def test_a_held_job_is_found(witnesses: Witnesses) -> None:
    witnesses.store.hset("of:counters", "held_poisoned", 1)
    assert witnesses.only_broken().examples == ("held_poisoned (1)",)


def test_a_rewritten_append_only_file_gives_no_verdict(
    witnesses: Witnesses, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = witnesses.write()
    (witnesses.directory / "appendonlydir" / "appendonly.aof.2.base.rdb").write_bytes(b"")
    assert main(argv) == 2
    assert "rewrote its append-only file" in capsys.readouterr().err


def test_an_incomplete_transaction_does_not_count() -> None:
    done = encode_resp("SET", "a", "1")
    cut = encode_resp("MULTI") + encode_resp("SET", "b", "2")
    assert list(commands(done + cut)) == [[b"SET", b"a", b"1"]]
    assert list(commands(done + cut + encode_resp("EXEC"))) == [[b"SET", b"a", b"1"], [b"SET", b"b", b"2"]]


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_torn_end_is_ignored(cut: int) -> None:
    assert list(commands(b"#TS:1\r\n" + encode_resp("SET", "a", "1") + encode_resp("DEL", "a")[:-cut])) == [
        [b"SET", b"a", b"1"]
    ]


def test_an_invalid_append_only_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableLog, match="no append-only file"):
        read(tmp_path)
    (tmp_path / "appendonly.aof.1.incr.aof").write_bytes(b"SET a 1\r\n")
    with pytest.raises(UnreadableLog, match="byte 0"):
        read(tmp_path)
