"""What each kind of failure means."""

from __future__ import annotations

import pytest

from router_core.outcome import DISPOSITIONS, Attempt, BreakerMark, CredentialMark, ErrorClass, Failure, Severity


def attempt(error):
    return Attempt(model="smol", backend="box", started_at=1, ended_at=2, error=error)


def test_every_error_class_has_a_disposition():
    assert set(DISPOSITIONS) == set(ErrorClass)


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        DISPOSITIONS[ErrorClass.TIMEOUT] = DISPOSITIONS[ErrorClass.AUTH]


@pytest.mark.parametrize("error", ErrorClass)
def test_a_fatal_failure_is_never_repeated(error):
    told = DISPOSITIONS[error]
    assert not (told.severity is Severity.FATAL and told.try_same_again)


@pytest.mark.parametrize("error", [ErrorClass.RATE_LIMITED, ErrorClass.AUTH, ErrorClass.OUT_OF_CREDITS])
def test_what_a_credential_met_is_not_held_against_the_model(error):
    assert DISPOSITIONS[error].breaker is BreakerMark.NEUTRAL
    assert DISPOSITIONS[error].credential is not CredentialMark.FINE


@pytest.mark.parametrize("error", [ErrorClass.BAD_REQUEST, ErrorClass.CONTEXT_OVERFLOW, ErrorClass.CANCELLED])
def test_the_callers_faults_tell_the_breaker_nothing(error):
    assert Failure(error_class=error).disposition.breaker is BreakerMark.NEUTRAL


def test_an_attempt_that_answered_has_no_disposition_and_is_not_repeated():
    assert attempt(None).disposition is None
    assert not attempt(None).may_be_repeated


def test_an_attempt_is_repeated_as_its_error_says():
    assert attempt(ErrorClass.TIMEOUT).may_be_repeated
    assert not attempt(ErrorClass.AUTH).may_be_repeated
