"""The problems of a fleet as a monitor reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openfall.producers.fleet_problems import ProblemCode, ProblemSeverity, list_problems, worst
from openfall.producers.outage_text import Away, Wait
from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus, WorkerStatus
from openfall.router_core.state.held_jobs import HeldSummary
from openfall.router_core.state.keys import DEGRADE
from openfall.router_core.vocabulary import HoldReason

GPU = "gpu.tiny.batch"
WORKER = WorkerStatus(
    name="w",
    state="idle",
    alive=True,
    queues=(GPU, DEGRADE),
    host="h",
    pid=1,
    heartbeat_age_seconds=1.0,
    answered=0,
    failed=0,
)  # fmt: skip
NO_DEGRADE = replace(WORKER, queues=(GPU,))
IDLE = QueueStatus(name=GPU, waiting=0, oldest_seconds=None, started=0, scheduled=0, paused=False)
BUSY = replace(IDLE, waiting=3, oldest_seconds=70.0)
WELL = FleetStatus(
    now=0.0, queues=(IDLE,), workers=(WORKER,), falling=0, held=0, suspended=False, memory_pressure=None, counters={}
)
NOTHING_HELD = HeldSummary()
AWAY = Away(model="tiny", backends=("rack",), since=0.0, cause="timeout", until=9.0, wait=Wait.PROBE, flat_plan=False)


def problems(
    status: FleetStatus = WELL, held: HeldSummary = NOTHING_HELD, dead: int = 0, away: Any = (), wait: Any = None
) -> list[tuple[ProblemCode, ProblemSeverity, str | None, int | None]]:
    listed = list_problems(status, held, dead, away, wait)
    return [(problem.code, problem.severity, problem.subject, problem.count) for problem in listed]


def test_a_fleet_with_a_worker_and_nothing_wrong_has_no_problem() -> None:
    assert problems() == []
    assert worst([]) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (replace(WELL, workers=()), (ProblemCode.NO_WORKER, ProblemSeverity.WARNING, None, 0)),
        (replace(WELL, workers=(), queues=(BUSY,)), (ProblemCode.NO_WORKER, ProblemSeverity.FAILURE, None, 3)),
        (
            replace(WELL, workers=(replace(WORKER, alive=False),), falling=1),
            (ProblemCode.NO_WORKER, ProblemSeverity.FAILURE, None, 1),
        ),
        (
            replace(WELL, workers=(NO_DEGRADE,), falling=2),
            (ProblemCode.NO_DEGRADE_WORKER, ProblemSeverity.FAILURE, None, 2),
        ),
        (replace(WELL, workers=(NO_DEGRADE,)), (ProblemCode.NO_DEGRADE_WORKER, ProblemSeverity.WARNING, None, 0)),
        (
            replace(WELL, workers=(replace(WORKER, queues=("x", DEGRADE)),), queues=(BUSY,)),
            (ProblemCode.NOT_SERVED, ProblemSeverity.FAILURE, GPU, 3),
        ),
        (replace(WELL, suspended=True), (ProblemCode.SUSPENDED, ProblemSeverity.FAILURE, None, 0)),
        (replace(WELL, memory_pressure="full"), (ProblemCode.NOT_ACCEPTING, ProblemSeverity.FAILURE, None, None)),
        (replace(WELL, queues=(replace(BUSY, paused=True),)), (ProblemCode.PAUSED, ProblemSeverity.WARNING, GPU, 3)),
    ],
)
def test_each_state_that_keeps_jobs_from_an_answer_is_a_problem(status: FleetStatus, expected: Any) -> None:
    assert problems(status) == [expected]


def test_a_job_that_waits_longer_than_the_limit_of_the_monitor_is_a_failure() -> None:
    busy = replace(WELL, queues=(BUSY,))
    assert problems(busy) == problems(busy, wait=71.0) == []
    assert problems(busy, wait=60.0) == [(ProblemCode.OVERDUE, ProblemSeverity.FAILURE, GPU, 3)]


def test_an_open_breaker_and_a_failed_check_are_warnings_and_a_cooldown_is_none() -> None:
    away = [AWAY, replace(AWAY, wait=Wait.CHECK), replace(AWAY, wait=Wait.COOLDOWN)]
    assert problems(away=away) == [
        (ProblemCode.BREAKER_OPEN, ProblemSeverity.WARNING, "tiny@rack", None),
        (ProblemCode.UNHEALTHY, ProblemSeverity.WARNING, "tiny@rack", None),
    ]


def test_held_jobs_and_dead_letters_are_warnings_and_failures_come_first() -> None:
    held = HeldSummary(total=2, examined=2, by_reason={HoldReason.OUTAGE: 2})
    listed = list_problems(replace(WELL, suspended=True), held, 4, ())
    assert [(problem.code, problem.count) for problem in listed] == [
        (ProblemCode.SUSPENDED, 0), (ProblemCode.HELD, 2), (ProblemCode.DEAD_LETTERS, 4),
    ]  # fmt: skip
    assert worst(listed) is ProblemSeverity.FAILURE
    assert worst(listed[1:]) is ProblemSeverity.WARNING
