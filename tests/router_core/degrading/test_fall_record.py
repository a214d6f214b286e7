"""The record of a fall: everything that a log and an incident tell, and nothing of what was asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from openfall.router_core.degrading.degrade import Degraded, FallContext, Hold, StandIn
from openfall.router_core.degrading.fall_record import fall_record, unread_record
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import BlockReason, HoldReason, Remedy, Urgency
from openfall.router_core.vocabulary import ErrorClass as E
from tests.router_core.decisions import LOCAL, NOW, blocked, completion, job, tried

SECRET = "the words of the prompt"
ASKED = job(
    (*LOCAL, "opus"), role="own", task="code", group="home", urgency=Urgency.INTERACTIVE,
    body={"messages": [{"role": "user", "content": SECRET}]},
)  # fmt: skip
CALLS = (
    replace(tried("small", E.TIMEOUT, NOW + 3.25, detail=SECRET, cost_usd=0.0), started_at=NOW + 1),
    tried("small", E.TIMEOUT, NOW + 5, cost_usd=0.25),
    tried("haiku", E.AUTH, NOW + 6, cost_usd=0.5),
)
FALLEN = FallContext(reason=HoldReason.OUTAGE, detail="all are away", at=NOW + 6.5, attempts=CALLS)
FLEET = FleetState({"large": blocked(reason=BlockReason.COOLDOWN), "opus": blocked(NOW)})
HELD = Hold(reason=HoldReason.OWN_FAULT, detail="fell 3 times", by=Remedy.CANNED_REPLY, reply=completion(SECRET))


def record(landing, fallen=FALLEN, fleet=FLEET, of=ASKED):
    return fall_record(of, fallen, landing, fleet, NOW + 7)


def test_it_tells_everything_but_the_words():
    actual = record(HELD)
    assert actual == {
        "at": NOW + 6.5, "id": "job-00001", "role": "own", "task": "code", "group": "home", "urgency": "interactive",
        "reason": "own_fault", "detail": "fell 3 times", "chain": ["small", "large", "opus"],
        "tried": [
            {"model": "small", "backend": "box", "error": "timeout", "took_s": 2.25},
            {"model": "small", "backend": "box", "error": "timeout", "took_s": 0.0},
            {"model": "haiku", "backend": "box", "error": "auth", "took_s": 0.0},
        ],
        "cost_usd": 0.75, "accepted_at": NOW, "by": "canned_reply", "final": False,
        "counts": [
            "u:interactive", "c:timeout", "c:auth", "m:small", "m:large", "c:rate_limited", "s:canned_reply",
        ],
    }  # fmt: skip
    assert SECRET not in json.dumps(actual)
    assert json.loads(json.dumps(actual)) == actual


@pytest.mark.parametrize(
    ("landing", "by", "final", "reason", "detail"),
    [
        (
            StandIn("opus", True, "opus stands in", HoldReason.BUDGET),
            "default_fallback",
            False,
            "budget",
            "all are away",
        ),
        (Hold(reason=HoldReason.OUTAGE, detail="away"), None, False, "outage", "away"),
        (Degraded(Remedy.FAIL, Failure(error_class=E.AUTH), "no", HoldReason.POISONED), "fail", True, "poisoned", "no"),
    ],
)
def test_it_tells_what_was_done_for_the_caller(landing, by, final, reason, detail):
    actual = record(landing)
    assert (actual["by"], actual["final"], actual["reason"], actual["detail"]) == (by, final, reason, detail)
    assert actual["counts"][-1] == f"s:{by or 'nothing'}"


def test_a_job_that_was_never_called_for_cost_nothing_and_counts_what_is_in_its_way():
    fallen = FallContext(reason=HoldReason.OUTAGE, detail="away", at=NOW)
    actual = record(
        Hold(reason=HoldReason.OUTAGE, detail="away"), fallen, FleetState({"small": blocked()}), job(("small",))
    )
    assert (actual["tried"], actual["cost_usd"]) == ([], 0)
    assert actual["counts"] == ["u:background", "m:small", "c:connection", "s:nothing"]


def test_what_a_call_cost_that_nobody_knows_is_not_taken_for_nothing():
    fallen = FallContext(reason=HoldReason.OUTAGE, detail="away", at=NOW, attempts=(*CALLS, tried("small", None)))
    actual = record(HELD, fallen)
    assert actual["cost_usd"] is None
    assert actual["tried"][-1]["error"] is None


def test_a_job_that_cannot_be_read_is_told_by_what_its_record_has():
    actual = unread_record("job-00001", Hold(reason=HoldReason.UNREADABLE, detail="schema 9"), NOW)
    assert actual == {
        "at": NOW, "id": "job-00001", "reason": "unreadable", "detail": "schema 9", "by": None, "final": False,
        "counts": ["s:nothing"],
    }  # fmt: skip
