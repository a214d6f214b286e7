"""What each kind of failure means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.jobs.outcome import Attempt, Failure, cause_in_brackets
from openfall.router_core.routing.fleet_state import BLOCK_ERRORS
from openfall.router_core.vocabulary import BlockReason, CallSignal, CredentialSignal, ErrorClass, Fallback, Severity

DECISIONS = Path(__file__).resolve().parents[3] / "docs" / "decisions.md"


def attempt(error):
    return Attempt(model="smol", backend="box", started_at=1, ended_at=2, error=error)


def test_every_error_class_has_a_disposition():
    assert set(DISPOSITIONS) == set(ErrorClass)


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        DISPOSITIONS[ErrorClass.TIMEOUT] = DISPOSITIONS[ErrorClass.AUTH]


@pytest.mark.parametrize("error", ErrorClass)
def test_a_fatal_failure_is_never_repeated(error):
    disposition = DISPOSITIONS[error]
    assert not (disposition.severity is Severity.FATAL and disposition.try_same_again)


@pytest.mark.parametrize("error", [ErrorClass.RATE_LIMITED, ErrorClass.AUTH, ErrorClass.OUT_OF_CREDITS])
def test_a_failure_of_a_credential_is_neutral_for_the_model(error):
    assert DISPOSITIONS[error].breaker is CallSignal.NEUTRAL
    assert DISPOSITIONS[error].credential is not CredentialSignal.FINE


@pytest.mark.parametrize("error", [ErrorClass.BAD_REQUEST, ErrorClass.CONTEXT_OVERFLOW, ErrorClass.CANCELLED])
def test_the_callers_faults_are_neutral_for_the_breaker(error):
    assert Failure(error_class=error).disposition.breaker is CallSignal.NEUTRAL


def test_a_forbidden_call_is_one_failure_of_the_model_and_never_parks_the_key():
    disposition = Failure(error_class=ErrorClass.FORBIDDEN).disposition
    assert (disposition.breaker, disposition.credential) == (CallSignal.FAILURE, CredentialSignal.FINE)
    assert not disposition.try_same_again


@pytest.mark.parametrize("error", sorted(set(ErrorClass) - {ErrorClass.CANCELLED, ErrorClass.CRASHED}))
def test_every_refusal_of_a_model_lets_the_next_model_answer(error):
    assert DISPOSITIONS[error].try_next_model


def test_an_attempt_that_answered_has_no_disposition_and_is_not_repeated():
    assert attempt(None).disposition is None
    assert not attempt(None).may_be_repeated


def test_the_error_of_an_attempt_decides_whether_it_may_be_repeated():
    assert attempt(ErrorClass.TIMEOUT).may_be_repeated
    assert not attempt(ErrorClass.AUTH).may_be_repeated


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(ErrorClass.RATE_LIMITED, Fallback.OVERLOAD, id="too many calls: overload"),
        pytest.param(ErrorClass.OVERLOADED, Fallback.OVERLOAD, id="too much to do: overload"),
        pytest.param(ErrorClass.CONNECTION, Fallback.UNAVAILABLE, id="out of reach: unavailable"),
        pytest.param(ErrorClass.NOT_INSTALLED, Fallback.UNAVAILABLE, id="not there: unavailable"),
        pytest.param(ErrorClass.NO_VRAM, Fallback.UNAVAILABLE, id="does not fit: unavailable"),
        pytest.param(ErrorClass.CONTEXT_OVERFLOW, Fallback.CONTEXT, id="a long prompt: context"),
        pytest.param(ErrorClass.CONTENT_FILTER, Fallback.POLICY, id="a filter: policy"),
        pytest.param(ErrorClass.LOCAL_ONLY, Fallback.POLICY, id="local only: policy"),
        pytest.param(ErrorClass.INVALID_OUTPUT, Fallback.OUTPUT, id="a failed check: output"),
        pytest.param(ErrorClass.BAD_REQUEST, Fallback.UNAVAILABLE, id="a bad request: unavailable"),
        pytest.param(ErrorClass.FORBIDDEN, Fallback.UNAVAILABLE, id="a forbidden call: unavailable"),
        pytest.param(ErrorClass.CANCELLED, None, id="a cancel: no fallback"),
    ],
)
def test_a_failure_makes_a_fallback_of_its_kind(error, kind):
    assert DISPOSITIONS[error].fallback is kind
    assert DISPOSITIONS[error].try_next_model is (kind is not None)


@pytest.mark.parametrize("reason", BlockReason)
def test_every_block_is_a_failure_that_allows_another_model(reason):
    assert DISPOSITIONS[BLOCK_ERRORS[reason]].try_next_model


def test_the_decisions_page_describes_each_failure_in_every_column():
    row = re.compile(r"^\| (`.*?) \| [^|]* \| (\w+) \| (\w+) \| (\w+) \| (\w+) \| (?:yes|no) \| (?:yes|no) \|$", re.M)
    documented = {
        name: columns
        for names, *columns in row.findall(DECISIONS.read_text("utf-8"))
        for name in re.findall(r"`(\w+)`", names)
    }
    expected = {
        str(error): [
            str(disposition.severity),
            str(disposition.breaker),
            str(disposition.credential),
            str(disposition.fallback or "none"),
        ]
        for error, disposition in DISPOSITIONS.items()
    }
    assert documented == expected


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (Failure(error_class=ErrorClass.OVERLOADED, detail="HTTP 529: busy", http_status=529), "overloaded (HTTP 529)"),
        (Failure(error_class=ErrorClass.OVERLOADED, http_status=500), "overloaded (HTTP 500)"),
        (Failure(error_class=ErrorClass.RATE_LIMITED, http_status=429), "rate_limited (HTTP 429)"),
        (Failure(error_class=ErrorClass.OVERLOADED, detail="an event of a stream"), "overloaded"),
        (Failure(error_class=ErrorClass.TIMEOUT, detail="no complete answer within 5 s"), "timeout"),
        (
            Failure(error_class=ErrorClass.CONNECTION, connection_fault="connection refused"),
            "connection (connection refused)",
        ),
        (Failure(error_class=ErrorClass.CONNECTION, http_status=502), "connection (HTTP 502)"),
        (Failure(error_class=ErrorClass.CONNECTION, connection_fault=61 * "x"), "connection"),
        (Failure(error_class=ErrorClass.CONNECTION, detail="all are away"), "connection"),
    ],
)
def test_the_cause_of_a_failure_has_its_class_and_its_status_or_the_reason_for_the_lost_connection(failure, cause):
    assert failure.cause == cause
    values = {
        "error": failure.error_class,
        "http_status": failure.http_status,
        "connection_fault": failure.connection_fault,
    }
    assert Attempt(model="m", backend="b", started_at=0, ended_at=1, **values).cause == cause


def test_an_answer_has_no_cause():
    assert Attempt(model="m", backend="b", started_at=0, ended_at=1).cause == ""


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        ("timeout", "timeout"),
        ("overloaded (HTTP 529)", "overloaded: HTTP 529"),
        ("5 of 10 (half) calls failed", "5 of 10 (half) calls failed"),
    ],
)
def test_a_cause_in_brackets_has_no_brackets(cause: str, text: str) -> None:
    assert cause_in_brackets(cause) == text


@pytest.mark.parametrize(("nusd", "usd"), [(None, None), (0, 0.0), (1_500_000, 0.0015)])
def test_an_unknown_cost_is_no_cost_of_0(nusd, usd):
    known = Attempt(model="smol", backend="box", started_at=1, ended_at=2, error=None, cost_nusd=nusd)
    assert known.cost_usd == usd
