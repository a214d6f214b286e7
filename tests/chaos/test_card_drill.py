"""The drill of cards: a small form, and its judge before forged evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.chaos_support import run_to_verdict
from tests.chaos.judge.card_verdict import judge, read

EPISODE = {
    "name": "killed", "jobs": {"id-1": "job 1"}, "began_at": 100.0, "fault_at": 101.0, "ended_at": 130.0, "loads": 1,
}  # fmt: skip
RECORDS = {"id-1": {"state": "done", "status": "answered", "deliveries": "1"}}


def row(at: float, event: str, pid: int = 1, **fields: Any) -> dict[str, Any]:
    return {"at": at, "event": event, "pid": pid, "model": "alpha", "job": "job 1", **fields}


ENGINE = [row(112, "load"), row(113, "loaded"), row(114, "call"), row(115, "answered")]


def broken(engine: list[dict[str, Any]] = ENGINE, **record: str) -> list[str]:
    records = {"id-1": {**RECORDS["id-1"], **record}}
    return [promise["name"] for promise in judge([EPISODE], engine, records)["promises"] if not promise["kept"]]


def test_evidence_in_which_all_is_well_breaks_nothing():
    assert broken() == []
    assert broken([*ENGINE, row(116, "call"), row(117, "answered")], deliveries="2") == [], "its worker was killed"


@pytest.mark.parametrize(
    ("engine", "record", "promise"),
    [
        (ENGINE, {"status": "failed"}, "each job is answered"),
        (ENGINE, {"state": "queued"}, "each job is answered"),
        (ENGINE[:3], {}, "each answer is of the engine"),
        ([*ENGINE, row(116, "answered")], {}, "no job is called more often than delivered"),
        ([row(116.1, "load"), *ENGINE[1:2], *ENGINE[3:]], {}, "the next step comes within 15 s"),
        (ENGINE[3:], {}, "the next step comes within 15 s"),
        ([row(102, "load"), row(103, "load"), *ENGINE], {}, "a fault costs one load at most"),
        ([*ENGINE[:2], row(113.5, "unloaded"), *ENGINE[2:]], {}, "no call waits in the engine for a load"),
        ([*ENGINE[:2], row(114, "call", pid=2), *ENGINE[3:]], {}, "no call waits in the engine for a load"),
    ],
)  # fmt: skip
def test_each_broken_promise_is_named(engine, record, promise):
    assert promise in broken(engine, **record)


def test_the_judge_reads_what_the_run_wrote_and_the_record_of_each_job(tmp_path, redis_url):
    (tmp_path / "episodes.jsonl").write_text(json.dumps(EPISODE) + "\n")
    (tmp_path / "engine.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ENGINE))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.hset("of:job:id-1", mapping=RECORDS["id-1"])
        assert judge(*read(tmp_path, [client]))["kept"]


@pytest.mark.slow
def test_an_engine_that_evicts_by_itself_costs_one_load_and_no_job(short_directory: Path) -> None:
    run_to_verdict(("lanes", "--json", "--faults", "engine evicts by itself"), short_directory)
