"""The values and the depth of a JSON text are bounded before anything visits them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.json_bounds import (
    MAX_DEPTH,
    MAX_PARTS,
    MAX_VALUES,
    JsonTooLarge,
    check_depth,
    check_parts,
    check_values,
    deep_place,
    wide_place,
)


def nested(levels: int, kind: str = "list") -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if kind == "dict" else (value,) if kind == "tuple" else [value]
    return value


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"1," * MAX_VALUES + b"1]",
        b"[" + b'"a",' * MAX_VALUES + b'"a"]',
        b"{" + b",".join(b'"k%d":1' % number for number in range(MAX_VALUES // 2 + 1)) + b"}",
        b"[" * MAX_VALUES + b"]" * MAX_VALUES + b"[",
        b"[" + b"1," * MAX_VALUES + b'"' + rb"\"" * MAX_VALUES,
    ],
    ids=["numbers", "texts", "keys", "brackets", "a text that does not end"],
)
def test_a_text_of_too_many_values_is_refused(raw: bytes) -> None:
    with pytest.raises(JsonTooLarge, match="has more than 300,000 values"):
        check_values(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b'"a",' * MAX_PARTS + b'"a"]',
        b"{" + b",".join(b'"k%d":1' % number for number in range(MAX_PARTS + 1)) + b"}",
        b"[" + b"[]," * MAX_PARTS + b"[]]",
        b"[" + b"{}," * MAX_PARTS + b"{}]",
    ],
    ids=["texts", "names", "lists", "objects"],
)
def test_a_request_of_too_many_parts_is_refused(raw: bytes) -> None:
    check_values(raw)
    with pytest.raises(JsonTooLarge, match="has more than 100,000 names, texts, lists and objects"):
        check_parts(raw)


def test_numbers_and_signs_within_strings_are_no_parts() -> None:
    check_parts(orjson.dumps([0] * MAX_VALUES))
    check_parts(orjson.dumps({"prompt": 'a, "b": [{\\' * MAX_VALUES, "more": [1, 2]}))
    check_parts(orjson.dumps(["a"] * (MAX_PARTS - 1)))


@pytest.mark.parametrize("levels", [5, 50, MAX_DEPTH - 1])
def test_many_values_may_be_nested_and_those_of_a_hundred_and_one_levels_are_refused(levels: int) -> None:
    hidden = ["]" * 200, "[" * 200, '\\"]']
    value = [nested(levels), {"a": hidden}] * 6000
    check_depth(orjson.dumps(value), value)
    value.append([nested(MAX_DEPTH), hidden])
    with pytest.raises(JsonTooLarge, match="is nested more than 100 levels deep"):
        check_depth(orjson.dumps(value), value)


def test_signs_within_strings_are_no_values() -> None:
    check_values(orjson.dumps({"prompt": 'a, "b": [{\\' * MAX_VALUES, "more": [1, 2]}))


def test_a_text_of_as_many_values_as_allowed_is_read() -> None:
    check_values(orjson.dumps([0] * MAX_VALUES))
    check_values(b"[" + b"100," * (MAX_VALUES - 1) + b"0]")


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_a_value_may_be_nested_a_hundred_levels_deep_and_no_more(kind: str) -> None:
    allowed, deeper = nested(MAX_DEPTH, kind), nested(MAX_DEPTH + 1, kind)
    check_depth(orjson.dumps(allowed), allowed)
    with pytest.raises(JsonTooLarge, match="is nested more than 100 levels deep"):
        check_depth(orjson.dumps(deeper), deeper)


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    value = [[{}]] * 2 * MAX_DEPTH
    check_depth(orjson.dumps(value), value)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"a": 1, "b": {"c": [nested(200)]}}, "b.c[0][0][0]"),
        ({"tools": [1, nested(200, "dict")], "b": nested(200)}, "tools[1].a.a.a"),
        ({"a": nested(MAX_DEPTH - 1)}, ""),
    ],
)
def test_the_place_of_the_depth_is_named_and_short(body: dict[str, Any], place: str) -> None:
    assert deep_place(body).startswith(place)
    assert bool(deep_place(body)) == bool(place)
    assert len(deep_place(body)) < 70


def test_the_place_of_the_values_is_the_widest_field() -> None:
    assert wide_place({"a": "text", "b": [1, {"c": [1, 2, 3]}], "d": [1, 2]}) == "b"


@pytest.mark.parametrize("number", [b"9" * 4000, b"-" + b"9" * 500, b"0." + b"1" * 500])
def test_a_long_text_has_no_number_of_many_digits(number: bytes) -> None:
    with pytest.raises(JsonTooLarge, match="has a number of more than 400 digits"):
        check_values(b"[" + b",".join([number] * (400_000 // len(number))) + b"]")


def test_many_digits_in_a_string_are_no_number() -> None:
    check_values(b'["' + b"9" * 500_000 + b'",' + b"9" * 400 + b"]")
