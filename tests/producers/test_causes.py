"""Which error class a caller's own failure is."""

from __future__ import annotations

import httpx
import pytest

from openfall.producers.runtime import error_class
from openfall.router_core.vocabulary import (
    ErrorClass as E,
)


class RateLimitError(Exception):
    """As the providers' own clients have them."""

    status_code = 429


def refused(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1:9")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status))


@pytest.mark.parametrize(
    ("error", "status", "found"),
    [
        (None, None, None),
        (None, 200, None),
        (E.NO_VRAM, 500, E.NO_VRAM),
        ("invalid_output", None, E.INVALID_OUTPUT),
        ("it said nothing", None, E.OTHER),
        ("it said nothing", 503, E.OVERLOADED),
        (None, 404, E.NOT_INSTALLED),
        (None, 402, E.OUT_OF_CREDITS),
        (None, 418, E.OTHER),
        (None, 529, E.OVERLOADED),
        (TimeoutError(), None, E.TIMEOUT),
        (ConnectionResetError(), None, E.CONNECTION),
        (ValueError("no JSON"), None, E.OTHER),
        (RateLimitError(), None, E.RATE_LIMITED),
        (refused(401), None, E.AUTH),
        (httpx.ReadTimeout("slow"), None, E.TIMEOUT),
        (httpx.ConnectError("refused"), None, E.CONNECTION),
    ],
    ids=repr,
)
def test_the_class_of_a_failure(error: object, status: int | None, found: E | None) -> None:
    assert error_class(error, status) is found  # type: ignore[arg-type]
