"""The judge of a torture run sees what it is there to see: each witness is forged in turn."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.torture_checker.__main__ import main
from benchmarks.torture_checker.aof import UnreadableLog, commands, read
from benchmarks.torture_checker.evidence import gather
from benchmarks.torture_checker.verdict import Promise, figures, judge

ROOT = Path(__file__).resolve().parents[2]
QUEUE = "gpu.coder.background"
JOBS = ("job-00000001", "job-00000002", "job-00000003")
KILLED_AT = 1_800_000_000_000.0
WORKER = "of-gpu-host-1-4711-a1b2c3"


def resp(*parts: str) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p.encode()), p.encode()) for p in parts)


def result_of(job: str) -> str:
    return json.dumps({"v": 1, "status": "answered", "body": {"content": f"This is the answer to {job}"}})


def takeover(job: str, seconds: float, why: str = "its worker died") -> bytes:
    event = {"event": "queued", "at": KILLED_AT + seconds * 1000, "why": why, "worker": WORKER}
    return resp("RPUSH", f"of:events:{job}", json.dumps(event))


@dataclass
class Witnesses:
    """What a run leaves behind; a test spoils some of it. One worker was killed, and one job came back from it."""

    directory: Path
    url: str
    store: redis.Redis
    accepted: list[str] = field(default_factory=lambda: list(JOBS))
    called: list[str] = field(default_factory=lambda: [*JOBS, JOBS[0]])
    faults: list[dict[str, Any]] = field(default_factory=lambda: [{"kind": "kill", "pid": 4711, "began": KILLED_AT}])
    aof: bytes = b""

    def __post_init__(self) -> None:
        self.aof = takeover(JOBS[0], 9.0)
        for job in JOBS:
            self.aof += resp("MULTI") + resp("SET", f"of:result:{job}", result_of(job), "PXAT", "1") + resp("EXEC")
            self.store.set(f"of:result:{job}", result_of(job))
        self.store.zadd(f"rq:finished:{QUEUE}", {job: 1 for job in JOBS})
        self.store.sadd("rq:queues", f"rq:queue:{QUEUE}")
        self.store.hset("of:counters", mapping={"accepted": 3, "answered": 3})

    def write(self) -> list[str]:
        """Write everything down; the arguments that the judge is given."""
        aof = self.directory / "appendonlydir"
        aof.mkdir(exist_ok=True)
        (aof / "appendonly.aof.1.base.rdb").write_bytes(b"REDIS")
        (aof / "appendonly.aof.1.incr.aof").write_bytes(self.aof)
        lines = [json.dumps({"event": "received", "job": job, "wall": KILLED_AT / 1000}) for job in self.called]
        (self.directory / "calls").write_text("\n".join(lines))
        (self.directory / "accepted").write_text("\n".join(self.accepted))
        (self.directory / "faults").write_text("\n".join(map(json.dumps, self.faults)))
        places = {"accepted": "accepted", "calls": "calls", "aof": "appendonlydir", "kills": "faults"}
        told = [part for name, place in places.items() for part in (f"--{name}", str(self.directory / place))]
        return [*told, "--url", self.url]

    def broken(self) -> list[Promise]:
        """The promises that the judge finds broken."""
        self.write()
        here = self.directory
        evidence = gather(here / "accepted", here / "calls", here / "appendonlydir", self.url, here / "faults")
        assert figures(evidence)["accepted"] == len(self.accepted)
        return [promise for promise in judge(evidence) if not promise.kept]

    def only_broken(self) -> Promise:
        (promise,) = self.broken()
        return promise


@pytest.fixture
def witnesses(tmp_path: Path, redis_url: str) -> Iterator[Witnesses]:
    with redis.Redis.from_url(redis_url) as store:
        yield Witnesses(tmp_path, redis_url, store)


def test_the_judge_imports_nothing_of_ours() -> None:
    for path in (ROOT / "benchmarks" / "torture_checker").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                known = name.split(".")[0] in {*sys.stdlib_module_names, "redis"}
                assert known or name.startswith("benchmarks.torture_checker"), f"{path.name} imports {name}"


def test_a_run_in_which_all_was_well_is_passed(witnesses: Witnesses) -> None:
    argv = [sys.executable, "-m", "benchmarks.torture_checker", *witnesses.write(), "--json"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["kept"], done.stderr) == (0, True, "")
    assert told["figures"]["kill_to_requeued_s"] == {"n": 1, "p50": 9.0, "p100": 9.0}
    assert told["figures"]["jobs_called_twice_or_more"] == 1


def test_a_second_result_is_found_in_the_servers_own_log(witnesses: Witnesses) -> None:
    witnesses.aof += resp("SET", f"of:result:{JOBS[1]}", result_of(JOBS[1]), "EX", "60")
    promise = witnesses.only_broken()
    assert (promise.name, promise.named) == ("no job was given two terminal results", (JOBS[1],))


def test_an_accepted_job_without_a_result_is_missing(witnesses: Witnesses) -> None:
    witnesses.store.delete(f"of:result:{JOBS[2]}")
    promise = witnesses.only_broken()
    assert (promise.name, promise.named) == ("of 3 accepted jobs, none is without its result", (JOBS[2],))


def test_a_job_that_the_server_knows_nothing_of_is_missing_everywhere(witnesses: Witnesses) -> None:
    witnesses.accepted.append("job-00000099")
    names = " ".join(promise.name for promise in witnesses.broken() if "job-00000099" in promise.named)
    assert "without its result" in names
    assert "exactly one" in names
    assert "asked of the upstream" in names


def test_a_result_that_nobody_asked_for_is_told(witnesses: Witnesses) -> None:
    witnesses.accepted.remove(JOBS[2])
    names = [promise.name for promise in witnesses.broken()]
    assert names == ["no result for a job whose receipt nobody had", "the counters agree"]


def test_an_answer_to_another_job_is_told(witnesses: Witnesses) -> None:
    witnesses.store.set(f"of:result:{JOBS[0]}", result_of(JOBS[1]))
    assert witnesses.only_broken().name == "every result is the answer to its own job"


def test_a_takeover_that_took_too_long_is_told(witnesses: Witnesses) -> None:
    witnesses.aof += takeover(JOBS[1], 15.2)
    promise = witnesses.only_broken()
    assert promise.name == "kill to requeued within 15 s"
    assert "p100 15.2 s" in promise.told


def test_a_takeover_near_an_outage_is_reported_apart(witnesses: Witnesses) -> None:
    witnesses.faults.append({"kind": "kill", "pid": 4712, "began": KILLED_AT + 60_000})
    witnesses.faults.append({"kind": "outage", "began": KILLED_AT + 70_000, "ended": KILLED_AT + 77_000})
    event = {"event": "queued", "at": KILLED_AT + 90_000, "why": "its worker died", "worker": "of-gpu-host-4712-ffffff"}
    witnesses.aof += resp("RPUSH", f"of:events:{JOBS[1]}", json.dumps(event))
    assert witnesses.broken() == []
    here = witnesses.directory
    evidence = gather(here / "accepted", here / "calls", here / "appendonlydir", witnesses.url, here / "faults")
    assert figures(evidence)["kill_to_requeued_near_outage_s"] == {"n": 1, "p50": 30.0, "p100": 30.0}


def test_a_worker_that_was_frozen_and_later_killed_is_judged_by_its_kill(witnesses: Witnesses) -> None:
    witnesses.faults.insert(0, {"kind": "frozen", "pid": 4711, "began": KILLED_AT - 40_000, "ended": KILLED_AT})
    witnesses.store.hset("of:counters", "late", 1)
    assert witnesses.broken() == []


def test_kills_without_any_takeover_prove_nothing(witnesses: Witnesses) -> None:
    witnesses.faults[0]["pid"] = 1
    assert witnesses.only_broken().told == "no takeover was seen"


def test_what_is_left_in_a_queue_or_leased_is_told(witnesses: Witnesses) -> None:
    witnesses.store.rpush(f"rq:queue:{QUEUE}", JOBS[0])
    witnesses.store.zadd("of:leases:mock", {f"{JOBS[0]}:x": 1})
    queue, lease = witnesses.broken()
    assert queue.named == (f"rq:queue:{QUEUE} (1)",)
    assert lease.named == ("of:leases:mock (1)",)


def test_a_job_in_two_terminal_registries_is_told(witnesses: Witnesses) -> None:
    witnesses.store.zadd(f"rq:failed:{QUEUE}", {JOBS[0]: 1})
    assert witnesses.only_broken().named == (JOBS[0],)


def test_an_answer_that_the_upstream_was_never_asked_for_is_told(witnesses: Witnesses) -> None:
    witnesses.called.remove(JOBS[2])
    assert witnesses.only_broken().name == "every answer was asked of the upstream"


def test_frozen_workers_must_have_met_the_fence(witnesses: Witnesses) -> None:
    witnesses.faults.append({"kind": "frozen", "pid": 5, "began": KILLED_AT, "ended": KILLED_AT + 15_000})
    assert witnesses.only_broken().told == "0 refused"
    witnesses.store.hset("of:counters", "late", 1)
    assert witnesses.broken() == []


def test_an_aimed_job_that_was_lost_is_told(witnesses: Witnesses) -> None:
    witnesses.faults.append({"kind": "aimed", "pid": 5, "began": KILLED_AT, "job": "aim-00000001"})
    assert witnesses.only_broken().named == ("aim-00000001",)


def test_a_held_job_is_told(witnesses: Witnesses) -> None:
    witnesses.store.hset("of:counters", "held_poisoned", 1)
    assert witnesses.only_broken().named == ("held_poisoned (1)",)


def test_an_append_only_file_that_was_rewritten_is_no_witness(
    witnesses: Witnesses, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = witnesses.write()
    (witnesses.directory / "appendonlydir" / "appendonly.aof.2.base.rdb").write_bytes(b"")
    assert main(argv) == 2
    assert "rewrote its append-only file" in capsys.readouterr().err


def test_a_transaction_that_was_cut_off_did_not_happen() -> None:
    done = resp("SET", "a", "1")
    cut = resp("MULTI") + resp("SET", "b", "2")
    assert list(commands(done + cut)) == [[b"SET", b"a", b"1"]]
    assert list(commands(done + cut + resp("EXEC"))) == [[b"SET", b"a", b"1"], [b"SET", b"b", b"2"]]


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_torn_end_is_left_out(cut: int) -> None:
    assert list(commands(b"#TS:1\r\n" + resp("SET", "a", "1") + resp("DEL", "a")[:-cut])) == [[b"SET", b"a", b"1"]]


def test_what_is_no_append_only_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableLog, match="no append-only file"):
        read(tmp_path)
    (tmp_path / "appendonly.aof.1.incr.aof").write_bytes(b"SET a 1\r\n")
    with pytest.raises(UnreadableLog, match="byte 0"):
        read(tmp_path)
