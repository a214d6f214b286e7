"""Which jobs of plain rq are accepted, and the reasons for refusing any other."""

import pickle
import zlib

import pytest
from rq.serializers import JSONSerializer

from openfall.workers.rq_jobs import parse_rq_call


def call(*parts):
    return JSONSerializer.dumps(parts)


@pytest.mark.parametrize("pack", [zlib.compress, bytes], ids=["as rq stores it", "uncompressed"])
def test_a_call_of_the_entry_point_names_the_accepted_job(pack):
    assert parse_rq_call(pack(call("openfall.deliver", None, ["job-00000001"], {}))) == ("job-00000001", "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(pickle.dumps(("os.system", None, ("true",), {})), "does not read pickles", id="a pickle"),
        pytest.param(b"5", "not an rq call", id="a number"),
        pytest.param(b"null", "not an rq call", id="nothing"),
        pytest.param(call("openfall.deliver", None, 5, {}), "not an rq call", id="arguments that are no list"),
        pytest.param(call("os.system", None, ["true"], {}), "not 'os.system'", id="another function"),
        pytest.param(call("openfall.deliver", None, [], {}), "takes one argument", id="no argument"),
        pytest.param(call("openfall.deliver", None, [5], {}), "takes one argument", id="a number for an id"),
        pytest.param(call("openfall.deliver", None, ["x"], {"a": 1}), "takes one argument", id="keywords"),
    ],
)
def test_any_other_call_is_refused_with_a_reason_and_not_unpickled(data, reason):
    job_id, refusal = parse_rq_call(data)
    assert job_id == ""
    assert reason in refusal
