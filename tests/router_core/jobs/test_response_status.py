"""The status of an OpenAI Response follows from the result of its job."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.response_status import response_id, response_status
from openfall.router_core.jobs.result import Result, Status


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (Status.ANSWERED, {"status": "completed"}, "completed"),
        (Status.ANSWERED, {"status": "incomplete"}, "incomplete"),
        (Status.ANSWERED, {"choices": []}, "completed"),
        (Status.DEGRADED, None, "completed"),
        (Status.FAILED, None, "failed"),
        (Status.EXPIRED, None, "failed"),
        (Status.CANCELLED, None, "cancelled"),
    ],
)
def test_a_response_ends_as_its_job_does(status: Status, body: dict[str, Any] | None, expected: str) -> None:
    assert response_status(Result(id="job-00001", status=status, body=body)) == expected


def test_the_id_of_a_response_has_the_id_of_its_job() -> None:
    assert response_id("job-00001") == "resp_job-00001"
