"""An error of openfall reaches the caller's process as it was."""

from __future__ import annotations

import copy
import pickle

from openfall.router_core.errors import InvalidOperation, OpenfallError


def test_a_pickled_or_copied_error_keeps_its_words_its_job_and_its_cause() -> None:
    error = InvalidOperation("the client is closed")
    error.job_id = "job-00001"
    error.__cause__ = OSError("the socket broke")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), again.job_id) == (InvalidOperation, "the client is closed", "job-00001")
        assert again.cause == "the socket broke"


def test_an_error_without_another_behind_it_has_no_cause() -> None:
    assert OpenfallError("no").cause == ""
