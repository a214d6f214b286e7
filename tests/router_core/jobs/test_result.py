"""What a producer reads from a result."""

from __future__ import annotations

import pytest

from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy


def attempt(model="smol", error=None, **more):
    return Attempt(model=model, backend=f"{model}-box", started_at=1, ended_at=2, error=error, **more)


def answered(*attempts, body=None):
    return Result(id="job-00001", status=Status.ANSWERED, attempts=attempts, body=body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param({"choices": [{"message": {"content": "hello"}}]}, "hello", id="an answer"),
        pytest.param({"choices": [{"message": {"content": None}}]}, "", id="a call of a tool has no text"),
        pytest.param({"choices": [{"message": None}]}, "", id="no message"),
        pytest.param({"choices": []}, "", id="no choice"),
        pytest.param({}, "", id="no choices"),
        pytest.param(None, "", id="no body"),
    ],
)
def test_the_text_is_that_of_the_first_choice(body, text):
    assert answered(body=body).text == text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            answered(attempt("smol"), body={"choices": [{"message": {"content": "a secret"}}]}),
            "Result(id='job-00001', status='answered', model='smol', took=0.0)",
        ),
        (
            Result(id="job-00002", status=Status.FAILED, attempts=(attempt("smol", ErrorClass.TIMEOUT),),
                   error=ErrorClass.TIMEOUT, detail="a secret", took=1.23456),
            "Result(id='job-00002', status='failed', model='smol', error='timeout', took=1.235)",
        ),
        (
            Result(id="job-00003", status=Status.DEGRADED, body={"choices": [{"message": {"content": "a secret"}}]},
                   degraded_by=Remedy.CANNED_REPLY, held_for=HoldReason.OUTAGE),
            "Result(id='job-00003', status='degraded', degraded_by='canned_reply', held_for='outage', took=0.0)",
        ),
    ],
)  # fmt: skip
def test_a_printed_result_is_one_short_line_without_the_answer(result, text):
    assert repr(result) == text
    assert "secret" not in str(result)


def test_the_last_attempt_has_the_model_and_the_tokens():
    result = answered(attempt("smol", ErrorClass.TIMEOUT), attempt("large", input_tokens=3, output_tokens=0))
    assert (result.model, result.backend, result.input_tokens, result.output_tokens) == ("large", "large-box", 3, 0)
    assert result.fallback_used


def test_the_first_model_is_no_fallback():
    assert not answered(attempt("smol")).fallback_used
    assert not answered(attempt("smol", ErrorClass.TIMEOUT), attempt("smol")).fallback_used


def test_a_failure_used_no_fallback():
    result = Result(id="job-00001", status=Status.FAILED, attempts=(attempt("a"), attempt("b")))
    assert not result.answered
    assert not result.fallback_used


def test_a_job_without_calls_has_no_model():
    result = Result(id="job-00001", status=Status.EXPIRED)
    assert (result.model, result.backend, result.input_tokens, result.output_tokens) == (None, None, None, None)


def test_a_first_model_that_was_passed_over_makes_the_next_a_fallback():
    result = answered(attempt("large", why="fallback (unavailable): smol's breaker is open"))
    passed_over = result.model_copy(update={"first_choice": "smol", "reason": "role ace"})
    assert passed_over.fallback_used
    assert passed_over.selection_reason == "fallback (unavailable): smol's breaker is open; role ace"
    assert result.model_copy(update={"reason": "role ace"}).selection_reason == "role ace"


def test_the_picked_answer_of_several_has_the_model():
    result = answered(attempt("smol"), attempt("large")).model_copy(
        update={"picked": "smol@smol-box", "picked_why": "smol: chosen by the judge", "reason": "role ace"}
    )
    assert (result.model, result.backend, result.fallback_used) == ("smol", "smol-box", False)
    assert result.selection_reason == "smol: chosen by the judge"
    replaced = result.model_copy(update={"first_choice": "gone"})
    assert replaced.fallback_used, "it answered in place of the first choices"
    assert not result.model_copy(update={"first_choice": "smol"}).fallback_used


def test_models_tried_counts_models_and_not_calls_and_not_the_judge():
    calls = (attempt("smol", ErrorClass.TIMEOUT), attempt("smol", ErrorClass.TIMEOUT), attempt("large"))
    assert answered(*calls).models_tried == 2
    assert answered(*calls, attempt("opus", is_judging=True)).models_tried == 2
    assert answered().models_tried == 0


def test_a_result_without_the_field_is_not_known_to_be_local_or_cloud():
    assert answered(attempt("smol")).as_json()["served_by"] is None


class TestDegraded:
    def degraded(self, by, *attempts, body=None, **more):
        more = {"degraded_by": by, "degraded_why": "all are away", "reason": "role ace"} | more
        return Result(id="job-00001", status=Status.DEGRADED, attempts=attempts, body=body, **more)

    @pytest.mark.parametrize("by", [Remedy.CANNED_REPLY, Remedy.LAST_ANSWER])
    def test_a_reply_without_a_call_has_no_model(self, by):
        result = self.degraded(by, attempt("smol", ErrorClass.TIMEOUT, input_tokens=3, output_tokens=4), body={"a": 1})
        assert (result.answered, result.degraded, result.final, result.fallback_used) == (True, True, True, False)
        assert (result.model, result.backend, result.input_tokens, result.output_tokens) == (None, None, None, None)
        assert result.selection_reason == "all are away; role ace"

    def test_a_default_fallback_is_the_model_and_has_its_reason(self):
        result = self.degraded(
            Remedy.DEFAULT_FALLBACK, attempt("smol", ErrorClass.TIMEOUT), attempt("spare", why="why not"), body={"a": 1}
        )
        assert (result.model, result.fallback_used) == ("spare", True)
        assert result.selection_reason == "all are away; role ace"
        assert result.model_copy(update={"picked": "spare@box", "picked_why": "the only answer"}).selection_reason == (
            "all are away; role ace"
        )

    def test_a_held_job_goes_on(self):
        held = self.degraded(None, attempt("smol", ErrorClass.TIMEOUT), held_for=HoldReason.OUTAGE)
        assert (held.answered, held.final, held.model) == (False, False, "smol")


def test_what_all_attempts_cost_is_unknown_when_one_of_them_is():
    assert answered(attempt(cost_nusd=250000000), attempt(cost_nusd=500000000)).cost_usd == 0.75
    assert answered(attempt(cost_nusd=250000000), attempt()).cost_usd is None


def test_the_latency_counts_every_wait():
    assert answered(attempt()).model_copy(update={"took": 1.2345}).latency_ms == 1234


def test_as_json_it_has_the_summary_beside_the_whole_and_null_for_unknown_values():
    summary = answered(attempt("smol")).as_json()
    assert (summary["model_used"], summary["cost_usd"], summary["final"], summary["status"]) == (
        "smol",
        None,
        True,
        "answered",
    )
    failed = Result(id="job-00001", status=Status.FAILED, attempts=(attempt("smol"),)).as_json()
    assert (failed["model_used"], failed["text"], failed["attempts"][0]["model"]) == (None, "", "smol")
    held = Result(id="job-00001", status=Status.DEGRADED, held_for=HoldReason.OUTAGE).as_json()
    assert (held["final"], held["held_for"]) == (False, "outage")


@pytest.mark.parametrize(
    ("errors", "refused"),
    [([ErrorClass.CONTENT_FILTER], True), ([ErrorClass.CONTENT_FILTER, None], False), ([], False)],
)
def test_an_answer_of_which_every_call_was_refused_is_a_refusal(errors, refused):
    assert answered(*(attempt(error=error) for error in errors), body={}).refused is refused
