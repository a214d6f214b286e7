"""What a newer openfall wrote in results and attempts is read: unknown fields are left out, unknown words carried."""

from __future__ import annotations

import json

import pytest

from openfall.router_core.jobs.envelope import (
    SCHEMA,
    UnreadableEnvelope,
    unpack_attempts,
    unpack_job,
    unpack_result,
    unpack_result_head,
)
from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.jobs.result import Status
from openfall.router_core.vocabulary import ErrorClass

ATTEMPT = {"model": "m", "backend": "b", "started_at": 1, "ended_at": 2}
NEWER_ATTEMPT = ATTEMPT | {"error": "melted", "colour": "red"}


def packed(**values):
    return json.dumps({"v": SCHEMA, "status": "failed", **values}).encode()


@pytest.mark.parametrize("unpack", [unpack_result, unpack_result_head])
@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("status", "partial"), ("error", "melted"), ("held_for", "moonlight"), ("degraded_by", "song"),
        ("served_by", "moon"),
    ],
)  # fmt: skip
def test_an_unknown_word_of_a_result_is_carried(unpack, field, word):
    result = unpack("job-00001", packed(**{field: word}))
    assert str(getattr(result, field)) == word
    assert result.as_json()[field] == word


def test_unknown_fields_of_a_result_and_its_attempts_are_left_out():
    result = unpack_result("job-00001", packed(colour="red", attempts=[NEWER_ATTEMPT], considered=[
        {"model": "m", "reason": "first", "score": 3}]))  # fmt: skip
    assert result.status is Status.FAILED
    assert [str(attempt.error) for attempt in result.attempts] == ["melted"]
    assert [model.reason for model in result.considered] == ["first"]


def test_an_older_result_without_newer_fields_is_read():
    assert unpack_result("job-00001", packed()).attempts == ()
    assert unpack_attempts(json.dumps(ATTEMPT).encode())[0].error is None


def test_an_unknown_error_of_an_attempt_means_what_any_other_error_does():
    (attempt,) = unpack_attempts(json.dumps(NEWER_ATTEMPT).encode())
    assert str(attempt.error) == "melted"
    assert attempt.disposition is DISPOSITIONS[ErrorClass.OTHER]
    assert attempt.cause == "melted"


def test_a_job_with_an_unknown_field_is_not_read_because_the_field_may_restrict_it():
    head = {"v": SCHEMA, "id": "job-00001", "producer": "p", "chain": ["m"], "only_in": "eu"}
    with pytest.raises(UnreadableEnvelope, match="only_in"):
        unpack_job(json.dumps(head).encode(), 1.0)


@pytest.mark.parametrize("damaged", [{"status": 7}, {"attempts": "none"}, {"attempts": [7]}, {"error": ["x"]}])
def test_a_value_of_another_type_is_no_newer_word(damaged):
    with pytest.raises(UnreadableEnvelope):
        unpack_result("job-00001", packed(**damaged))
