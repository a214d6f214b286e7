"""The record of a fall: all facts for a log and an incident, and nothing of the prompt."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from openfall.router_core.degrading.degrade import DefaultFallback, Degraded
from openfall.router_core.degrading.fall_record import fall_record, unread_record
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.degrading.judged_fall import FallContext
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason, HoldReason, Remedy, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import LOCAL, NOW, blocked, completion, job, tried

SECRET = "the words of the prompt"
JOB = job(
    (*LOCAL, "opus"), role="own", task="code", group="home", urgency=Urgency.INTERACTIVE,
    body={"messages": [{"role": "user", "content": SECRET}]},
)  # fmt: skip
CALLS = (
    replace(tried("small", E.TIMEOUT, NOW + 3.25, detail=SECRET, cost_nusd=0), started_at=NOW + 1),
    tried("small", E.TIMEOUT, NOW + 5, cost_nusd=250000000),
    tried("haiku", E.AUTH, NOW + 6, cost_nusd=500000000, http_status=401),
)
FALLEN = FallContext(reason=HoldReason.OUTAGE, detail="all are away", at=NOW + 6.5, attempts=CALLS)
FLEET = FleetState({"large": blocked(reason=BlockReason.COOLDOWN), "opus": blocked(NOW)})
SHUT = ModelState(blocked=Blocked(BlockReason.BREAKER, FOREVER, "open", E.OVERLOADED, "overloaded (HTTP 529)"))
HELD = Hold(reason=HoldReason.OWN_FAULT, detail="fell 3 times", by=Remedy.CANNED_REPLY, reply=completion(SECRET))


def record(action, fallen=FALLEN, fleet=FLEET, of=JOB):
    return fall_record(of, fallen, action, fleet, NOW + 7)


def test_it_has_every_fact_but_the_prompt():
    row = record(HELD)
    assert row == {
        "at": NOW + 6.5, "id": "job-00001", "role": "own", "task": "code", "group": "home", "urgency": "interactive",
        "reason": "own_fault", "detail": "fell 3 times", "chain": ["small", "large", "opus"],
        "tried": [
            {"model": "small", "backend": "box", "error": "timeout", "cause": "timeout", "took_s": 2.25},
            {"model": "small", "backend": "box", "error": "timeout", "cause": "timeout", "took_s": 0.0},
            {"model": "haiku", "backend": "box", "error": "auth", "cause": "auth (HTTP 401)", "took_s": 0.0},
        ],
        "cost_usd": 0.75, "accepted_at": NOW, "by": "canned_reply", "final": False,
        "counts": [
            "u:interactive", "chain:large,opus,small", "c:timeout", "c:auth (HTTP 401)", "m:small", "m:large",
            "c:rate_limited", "s:canned_reply",
        ],
    }  # fmt: skip
    assert SECRET not in json.dumps(row)
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    ("action", "by", "final", "reason", "detail"),
    [
        (
            DefaultFallback("opus", True, "its default fallback is opus", HoldReason.BUDGET),
            "default_fallback",
            False,
            "budget",
            "all are away",
        ),
        (Hold(reason=HoldReason.OUTAGE, detail="away"), None, False, "outage", "away"),
        (Degraded(Remedy.FAIL, Failure(error_class=E.AUTH), "no", HoldReason.POISONED), "fail", True, "poisoned", "no"),
    ],
)
def test_it_names_the_remedy_for_the_caller(action, by, final, reason, detail):
    row = record(action)
    assert (row["by"], row["final"], row["reason"], row["detail"]) == (by, final, reason, detail)
    assert row["counts"][-1] == f"s:{by or 'nothing'}"


def test_a_job_without_calls_costs_nothing_and_counts_its_blocks():
    fallen = FallContext(reason=HoldReason.OUTAGE, detail="away", at=NOW)
    row = record(Hold(reason=HoldReason.OUTAGE, detail="away"), fallen, FleetState({"small": SHUT}), job(("small",)))
    assert (row["tried"], row["cost_usd"]) == ([], 0)
    assert row["counts"] == ["u:background", "chain:small", "m:small", "c:overloaded (HTTP 529)", "s:nothing"]


def test_an_unknown_cost_of_a_call_is_not_0():
    fallen = FallContext(reason=HoldReason.OUTAGE, detail="away", at=NOW, attempts=(*CALLS, tried("small", None)))
    row = record(HELD, fallen)
    assert row["cost_usd"] is None
    assert row["tried"][-1]["error"] is None


def test_a_job_that_cannot_be_read_has_the_facts_of_its_record():
    row = unread_record("job-00001", Hold(reason=HoldReason.UNREADABLE, detail="schema 9"), NOW)
    assert row == {
        "at": NOW, "id": "job-00001", "reason": "unreadable", "detail": "schema 9", "by": None, "final": False,
        "counts": ["s:nothing"],
    }  # fmt: skip
