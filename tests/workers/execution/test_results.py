"""The result that a decision leads to."""

from __future__ import annotations

from openfall.router_core.deciding.steps import Done
from openfall.router_core.degrading.degrade import Degraded
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.envelope import pack_result, unpack_result
from openfall.router_core.jobs.outcome import Answer, Failure
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.router_core.vocabulary import HoldReason, Remedy
from openfall.workers.execution.results import default_fallback_result, degraded_result, final_result, interim_result
from tests.router_core.decisions import CATALOG, NOW, completion, job, tried

JOB = job(reason="role ace")
CALLS = (tried("small", ended_at=NOW + 2), tried("opus", None, ended_at=NOW + 4))
WORDS = synthetic_reply(JOB, "Later.", NOW)


def stored(result: Result) -> Result:
    """The result, after a check that Redis stores it without loss."""
    assert unpack_result(result.id, pack_result(result)) == result
    return result


def default_fallback(calls, done):
    return default_fallback_result(final_result(JOB, CATALOG, calls, done, NOW + 5), "all are away")


def test_an_answer_of_its_own_chain_is_an_answer():
    result = stored(final_result(JOB, CATALOG, CALLS, Done(completion(body={"a": 1})), NOW + 5))
    assert (result.status, result.degraded_by, result.degraded_why, result.first_choice) == (
        Status.ANSWERED,
        None,
        "",
        None,
    )


def test_an_answer_of_a_default_fallback_is_degraded_and_says_why():
    result = stored(default_fallback(CALLS, Done(completion(body={"a": 1}))))
    assert (result.status, result.degraded_by, result.degraded_why) == (
        Status.DEGRADED, Remedy.DEFAULT_FALLBACK, "all are away"
    )  # fmt: skip
    assert (result.answered, result.final, result.model, result.fallback_used, result.took) == (
        True,
        True,
        "opus",
        True,
        5,
    )
    assert result.selection_reason == "all are away; role ace"


def test_a_default_fallback_that_is_called_first_is_a_fallback_too():
    result = stored(default_fallback(CALLS[1:], Done(completion(body={"a": 1}))))
    assert (result.first_choice, result.fallback_used) == ("small", True)


def test_a_default_fallback_of_an_ensemble_says_why_it_was_called():
    answer = Answer("opus", "api", completion(body={"a": 1}))
    done = Done(answer.completion, answer=answer, why="opus: the only answer")
    result = stored(default_fallback(CALLS, done))
    assert (result.status, result.model, result.selection_reason) == (Status.DEGRADED, "opus", "all are away; role ace")


def test_a_job_that_a_default_fallback_fails_or_outlives_is_not_degraded():
    failed = Done(Failure(error_class=E.BAD_REQUEST, detail="what?"))
    result = stored(default_fallback(CALLS, failed))
    assert (result.status, result.error, result.degraded_by) == (Status.FAILED, E.BAD_REQUEST, None)
    late = Done(Failure(error_class=E.TIMEOUT), expired=True)
    assert default_fallback((), late).status is Status.EXPIRED


def test_a_reply_that_ends_a_job_is_its_result():
    result = stored(degraded_result(JOB, (), Degraded(Remedy.CANNED_REPLY, WORDS, "all are away"), NOW + 5))
    assert (result.status, result.final, result.text, result.finish_reason) == (Status.DEGRADED, True, "Later.", "stop")
    assert (result.degraded_by, result.degraded_why, result.model) == (Remedy.CANNED_REPLY, "all are away", None)


def test_a_job_that_fails_for_its_fall_names_its_last_error_and_why_it_ended():
    failure = Failure(error_class=E.CONNECTION, detail="all are away")
    result = stored(degraded_result(JOB, CALLS[:1], Degraded(Remedy.FAIL, failure, "all are away"), NOW + 5))
    assert (result.status, result.error, result.detail, result.answered) == (
        Status.FAILED,
        E.CONNECTION,
        "all are away",
        False,
    )
    assert (result.degraded_by, result.degraded_why) == (Remedy.FAIL, "all are away")


def test_while_a_job_is_held_its_caller_reads_the_reply_and_that_it_goes_on():
    hold = Hold(reason=HoldReason.OUTAGE, detail="all are away", by=Remedy.CANNED_REPLY, reply=WORDS)
    result = stored(interim_result(JOB, CALLS[:1], hold, NOW + 5))
    assert (result.status, result.final, result.held_for, result.answered) == (
        Status.DEGRADED, False, HoldReason.OUTAGE, True
    )  # fmt: skip
    assert (result.text, result.degraded_by, result.degraded_why) == ("Later.", Remedy.CANNED_REPLY, "all are away")
    assert result.held_until == JOB.deadline, "its caller set a deadline"


def test_a_job_that_is_held_with_nothing_to_read_says_so():
    result = stored(interim_result(JOB, (), Hold(reason=HoldReason.BUDGET, detail="spent"), NOW + 5))
    assert (result.answered, result.text, result.degraded_by, result.held_for) == (False, "", None, HoldReason.BUDGET)
    assert "degraded_by" not in result.model_fields_set
