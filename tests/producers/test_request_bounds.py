"""A request of too many values, or of too many levels, is refused before it is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from openfall import BadRequest, RequestTooComplex
from openfall.producers.prompt import check_size
from openfall.router_core.jobs.envelope import UnreadableEnvelope, unpack_job, unpack_result
from openfall.router_core.jobs.json_bounds import MAX_RESULT_VALUES, MAX_VALUES

MIB = 2**20


def nested(levels: int, kind: str) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if kind == "dict" else (value,) if kind == "tuple" else [value]
    return value


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
@pytest.mark.parametrize("levels", [100, 150, 250, 900, 100_000])
def test_a_body_of_more_than_a_hundred_levels_is_refused_and_its_place_named(kind: str, levels: int) -> None:
    with pytest.raises(RequestTooComplex, match=r"nested more than 100 levels deep, in `metadata[.\[]") as caught:
        check_size({"messages": [], "metadata": nested(levels, kind)}, MIB * 32)
    assert caught.value.place.startswith("metadata")
    assert len(str(caught.value)) < 200
    assert isinstance(caught.value, BadRequest)


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_a_body_of_a_hundred_levels_is_accepted(kind: str) -> None:
    assert check_size({"metadata": nested(99, kind)}, MIB)


@pytest.mark.parametrize("kind", ["list", "keys"])
def test_a_body_of_too_many_values_is_refused_and_its_place_named(kind: str) -> None:
    wide: Any = [0] * MAX_VALUES if kind == "list" else dict.fromkeys(map(str, range(MAX_VALUES)), 1)
    with pytest.raises(RequestTooComplex, match="the request has more than 300,000 values, in `tools`") as caught:
        check_size({"messages": [1, 2], "tools": wide}, MIB * 32)
    assert caught.value.place == "tools"


def test_a_long_prompt_full_of_commas_is_accepted() -> None:
    assert check_size({"messages": [{"role": "user", "content": 'a, "b": [1]; ' * MAX_VALUES}]}, MIB * 32)


def test_a_job_or_a_result_of_too_many_values_in_redis_is_unreadable() -> None:
    with pytest.raises(UnreadableEnvelope, match="has more than 300,000 values"):
        unpack_job(b'{"v":2}\n[' + b"1," * MAX_VALUES + b"1]", 0.0)
    with pytest.raises(UnreadableEnvelope, match="has more than 2,000,000 values"):
        unpack_result("job-000001", b"[" + b"1," * MAX_RESULT_VALUES + b"1]")
