"""What plain rq may ask for, and what it is told when it asks for anything else."""

import pickle
import zlib

import pytest
from rq.serializers import JSONSerializer

from openfall.workers.rq_jobs import read_ticket


def call(*parts):
    return JSONSerializer.dumps(parts)


@pytest.mark.parametrize("pack", [zlib.compress, bytes], ids=["as rq stores it", "uncompressed"])
def test_our_entry_point_gives_the_id_of_the_accepted_job(pack):
    assert read_ticket(pack(call("openfall.workers.deliver", None, ["job-00000001"], {}))) == ("job-00000001", "")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(pickle.dumps(("os.system", None, ("true",), {})), "reads no pickles", id="a pickle"),
        pytest.param(b"5", "not an rq call", id="a number"),
        pytest.param(b"null", "not an rq call", id="nothing"),
        pytest.param(call("openfall.workers.deliver", None, 5, {}), "not an rq call", id="arguments that are no list"),
        pytest.param(call("os.system", None, ["true"], {}), "asks for 'os.system'", id="another function"),
        pytest.param(call("openfall.workers.deliver", None, [], {}), "takes one argument", id="no argument"),
        pytest.param(call("openfall.workers.deliver", None, [5], {}), "takes one argument", id="a number for an id"),
        pytest.param(call("openfall.workers.deliver", None, ["x"], {"a": 1}), "takes one argument", id="keywords"),
    ],
)
def test_anything_else_is_refused_with_a_reason_and_imports_nothing(data, why):
    job_id, told = read_ticket(data)
    assert job_id == ""
    assert why in told
