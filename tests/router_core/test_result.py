"""What a producer reads from a result."""

from __future__ import annotations

import pytest

from router_core.outcome import Attempt, ErrorClass
from router_core.result import Result, Status


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


def test_the_last_attempt_tells_who_answered_and_what_it_took():
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


def test_a_job_that_was_never_called_for_has_no_model():
    result = Result(id="job-00001", status=Status.EXPIRED)
    assert (result.model, result.backend, result.input_tokens, result.output_tokens) == (None, None, None, None)
