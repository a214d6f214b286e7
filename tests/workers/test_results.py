"""From a decision to the result that tells of it."""

from __future__ import annotations

from openfall.router_core.deciding.decide import Done
from openfall.router_core.degrading.degrade import Degraded, Hold
from openfall.router_core.jobs.envelope import pack_result, unpack_result
from openfall.router_core.jobs.outcome import (
    Answer,
    Failure,
)
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from openfall.router_core.vocabulary import (
    ErrorClass as E,
)
from openfall.router_core.vocabulary import (
    HoldReason,
    Remedy,
)
from openfall.workers.execution.results import degraded_result, interim_result, result_of
from tests.router_core.decisions import NOW, completion, job, tried

JOB = job(reason="role ace")
CALLS = (tried("small", ended_at=NOW + 2), tried("opus", None, ended_at=NOW + 4))
WORDS = synthetic_reply(JOB, "Later.", NOW)


def as_told(result: Result) -> Result:
    """It crosses Redis as it is."""
    assert unpack_result(result.id, pack_result(result)) == result
    return result


def test_an_answer_of_its_own_chain_is_an_answer():
    told = as_told(result_of(JOB, CALLS, Done(completion(body={"a": 1})), NOW + 5))
    assert (told.status, told.degraded_by, told.degraded_why, told.first_choice) == (Status.ANSWERED, None, "", None)


def test_an_answer_of_a_stand_in_is_degraded_and_tells_why():
    told = as_told(result_of(JOB, CALLS, Done(completion(body={"a": 1})), NOW + 5, stand_in_for="all are away"))
    assert (told.status, told.degraded_by, told.degraded_why) == (
        Status.DEGRADED, Remedy.DEFAULT_FALLBACK, "all are away"
    )  # fmt: skip
    assert (told.answered, told.final, told.model, told.fallback_used, told.took) == (True, True, "opus", True, 5)
    assert told.selection_reason == "all are away; role ace"


def test_a_stand_in_that_is_asked_before_anybody_else_is_a_fallback_too():
    told = as_told(result_of(JOB, CALLS[1:], Done(completion(body={"a": 1})), NOW + 5, stand_in_for="all are away"))
    assert (told.first_choice, told.fallback_used) == ("small", True)


def test_a_stand_in_of_an_ensemble_tells_why_it_was_asked():
    answer = Answer("opus", "api", completion(body={"a": 1}))
    done = Done(answer.completion, answer=answer, why="opus: the only answer")
    told = as_told(result_of(JOB, CALLS, done, NOW + 5, stand_in_for="all are away"))
    assert (told.status, told.model, told.selection_reason) == (Status.DEGRADED, "opus", "all are away; role ace")


def test_a_job_that_a_stand_in_fails_or_outlives_is_not_degraded():
    failed = Done(Failure(error_class=E.BAD_REQUEST, detail="what?"))
    told = as_told(result_of(JOB, CALLS, failed, NOW + 5, stand_in_for="all are away"))
    assert (told.status, told.error, told.degraded_by) == (Status.FAILED, E.BAD_REQUEST, None)
    late = Done(Failure(error_class=E.TIMEOUT), expired=True)
    assert result_of(JOB, (), late, NOW + 5, stand_in_for="all are away").status is Status.EXPIRED


def test_a_reply_that_ends_a_job_is_its_result():
    told = as_told(degraded_result(JOB, (), Degraded(Remedy.CANNED_REPLY, WORDS, "all are away"), NOW + 5))
    assert (told.status, told.final, told.text, told.finish_reason) == (Status.DEGRADED, True, "Later.", "stop")
    assert (told.degraded_by, told.degraded_why, told.model) == (Remedy.CANNED_REPLY, "all are away", None)


def test_a_job_that_fails_for_its_fall_tells_what_it_met_and_why_it_ended():
    failure = Failure(error_class=E.CONNECTION, detail="all are away")
    told = as_told(degraded_result(JOB, CALLS[:1], Degraded(Remedy.FAIL, failure, "all are away"), NOW + 5))
    assert (told.status, told.error, told.detail, told.answered) == (Status.FAILED, E.CONNECTION, "all are away", False)
    assert (told.degraded_by, told.degraded_why) == (Remedy.FAIL, "all are away")


def test_while_a_job_is_held_its_caller_reads_the_reply_and_that_it_goes_on():
    hold = Hold(reason=HoldReason.OUTAGE, detail="all are away", by=Remedy.CANNED_REPLY, reply=WORDS)
    told = as_told(interim_result(JOB, CALLS[:1], hold, NOW + 5))
    assert (told.status, told.final, told.held_for, told.answered) == (
        Status.DEGRADED, False, HoldReason.OUTAGE, True
    )  # fmt: skip
    assert (told.text, told.degraded_by, told.degraded_why) == ("Later.", Remedy.CANNED_REPLY, "all are away")


def test_a_job_that_is_held_with_nothing_to_read_says_so():
    told = as_told(interim_result(JOB, (), Hold(reason=HoldReason.BUDGET, detail="spent"), NOW + 5))
    assert (told.answered, told.text, told.degraded_by, told.held_for) == (False, "", None, HoldReason.BUDGET)
    assert "degraded_by" not in told.model_fields_set
