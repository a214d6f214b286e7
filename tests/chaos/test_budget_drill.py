"""Budgets under workers that die in mid-call: a small form of the scenario, and its judge with forged evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.budget_sums import pack_sums
from tests.chaos.chaos_support import run_to_verdict
from tests.chaos.judge.budget_verdict import judge


@pytest.mark.slow
def test_the_invoice_exceeds_no_budget_at_any_moment_while_workers_die_and_check_then_record_does(
    short_directory: Path,
) -> None:
    verdict = run_to_verdict(["budgets", "--quick", "--json", "--seed", "5"], short_directory)
    figures = verdict["figures"]
    assert figures["workers_killed"] > 0
    assert figures["cut_off"] > 0
    assert max(figures["highest_share_of_a_limit"].values()) <= 1
    assert figures["check_then_record"]["house"] > 1


CALLS = [
    {"call": number, "job": f"job-{number}", "group": "bots", "producer": "day", "nusd": 10, "cut": number == 3}
    for number in (1, 2, 3)
]
SUMS = {key: pack_sums(20, 0, 12, 3) for key in ("house:2026-11-29", "each:2026-11-29:day")}
LEDGER = {"m@mock bots main day": "3 0 0 0 20 1 0 10 unconfirmed 12"}


def broken(folder: Path, url: str, **changed: Any) -> list[str]:
    """The promises that a run with this evidence has broken."""
    evidence: dict[str, Any] = {"calls": CALLS, "sums": SUMS, "ledger": LEDGER, "limits": {"house": 32}, "accepted": 1}
    evidence |= {"cost": 10, **changed}
    (folder / "limits.json").write_text(json.dumps(evidence["limits"]))
    (folder / "invoice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evidence["calls"]))
    (folder / "naive.jsonl").write_text("")
    with redis.Redis.from_url(url, decode_responses=True) as store:
        store.flushall()
        store.hset("of:budget-sums", mapping=evidence["sums"])
        store.hset("of:ledger:2026-11-29", mapping=evidence["ledger"])
        store.hset("of:counters", mapping={"accepted": evidence["accepted"], "budget_drift": changed.get("drift", 0)})
        store.set("of:result:job-1", json.dumps({"attempts": [{"cost_nusd": evidence["cost"]}]}))
        return [promise["name"] for promise in judge(folder, store)["promises"] if not promise["kept"]]


def test_a_run_within_its_limits_keeps_every_promise(tmp_path: Path, redis_url: str) -> None:
    assert broken(tmp_path, redis_url) == []


@pytest.mark.parametrize(
    ("changed", "promise"),
    [
        ({"limits": {"house": 29}}, "the invoice exceeds a limit after no call"),
        ({"limits": {"house": 32, "bots": 29}}, "the invoice exceeds a limit after no call"),
        ({"sums": SUMS | {"each:2026-11-29:day": pack_sums(20, 1, 12, 3)}}, "nothing stays reserved"),
        ({"drift": 1}, "no sum drifts"),
        (
            {"ledger": {"m@mock bots main day": "3 0 0 0 19 1 0 10 unconfirmed 12"}},
            "ledger and invoice agree to the nanodollar",
        ),
        ({"calls": [*CALLS, CALLS[0] | {"call": 4, "nusd": 3}]}, "ledger and invoice agree to the nanodollar"),
        ({"cost": 11}, "each known cost was billed for its job"),
        ({"accepted": 2}, "each accepted job has its end"),
    ],
)
def test_each_broken_promise_is_noticed(tmp_path: Path, redis_url: str, changed: Any, promise: str) -> None:
    limits = {"limits": {"house": 33}} if "calls" in changed else {}
    assert broken(tmp_path, redis_url, **(limits | changed)) == [promise]
