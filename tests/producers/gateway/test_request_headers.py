"""Headers of a request are found as Starlette finds them."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from openfall.producers.gateway.request_headers import RequestHeaders

RAW = [(b"host", b"a"), (b"x-twice", b"1"), (b"x-twice", b"2"), (b"x-latin", "é".encode("latin-1")), (b"empty", b"")]


@pytest.mark.parametrize("name", ["host", "Host", "x-twice", "X-Twice", "x-latin", "empty", "absent"])
def test_a_header_has_the_value_that_starlette_finds(name: str) -> None:
    own, theirs = RequestHeaders(RAW), Headers(raw=RAW)
    assert (own.get(name), name in own, own.get(name, "-")) == (theirs.get(name), name in theirs, theirs.get(name, "-"))
    assert (own.getlist(name), dict(own.items())) == (theirs.getlist(name), dict(theirs.items()))


def test_an_absent_header_is_an_error_by_its_name() -> None:
    with pytest.raises(KeyError):
        RequestHeaders(RAW)["absent"]
