"""Schemas of callers: their draft, their faults, and that none of their addresses is called."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from openfall.workers.execution.json_schema import schema_error


@pytest.fixture
def schema_server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server with a schema, and the paths that were fetched."""
    fetched: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "string"}')

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/secret", fetched
        server.shutdown()
        thread.join()


def test_a_schema_that_names_an_address_does_not_make_the_worker_call_it(schema_server: tuple[str, list[str]]) -> None:
    url, fetched = schema_server
    assert schema_error({"$ref": url}, "a") == "the schema refers to something that is not in it"
    assert schema_error({"$schema": url, "type": "string"}, "a") is None
    assert fetched == []


def test_the_draft_that_a_schema_names_decides() -> None:
    pair = {"items": [{"type": "string"}, {"type": "integer"}]}
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", **pair}
    assert schema_error(draft_7, ["a", 1]) is None
    assert schema_error(draft_7, ["a", "b"]) == "type fails at /1"
    assert schema_error(pair, ["a", 1]) == "the schema itself is not valid at /items"


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ({"$ref": "#"}, "the schema refers to itself without end, or is too deep"),
        ({"$schema": ["a"]}, "the schema itself is not valid at /$schema"),
        ({"$id": "http://[bad", "$ref": "x#y"}, "the schema cannot be applied to the answer: ValueError"),
        ({"const": {"type": "nonsense"}, "$ref": "#/const"}, "the schema cannot be applied to the answer: UnknownType"),
        ({"a": 5, "$ref": "#/a"}, "the schema cannot be applied to the answer: TypeError"),
        ({"multipleOf": 0.1}, "the schema cannot be applied to the answer: OverflowError"),
        (None, "the schema itself is not valid at /"),
        ([{}], "the schema itself is not valid at /"),
    ],
)  # fmt: skip
def test_a_schema_that_the_library_cannot_apply_is_an_error_in_words(schema: object, error: str) -> None:
    assert schema_error(schema, 10**399) == error


@pytest.mark.parametrize(
    "pattern", [r"^\p{L}+$", r"^(?<year>\d+)$", r"\u{1F600}", r"^[\w-.]+$", "a{99999999999}", "(" * 2000 + ")" * 2000]
)
def test_a_pattern_that_python_cannot_read_is_not_checked(pattern: str) -> None:
    assert schema_error({"pattern": pattern, "type": "string"}, "abc") is None
    assert schema_error({"pattern": pattern, "type": "string"}, 1) == "type fails at /"


@pytest.mark.parametrize("draft", ["2020-12", "2019-09"])
@pytest.mark.parametrize("pattern", [r"^\p{L}+$", r"^(?<year>\d+)$", "a{99999999999}"])
@pytest.mark.parametrize("closed", [{}, {"additionalProperties": False}, {"unevaluatedProperties": False}])
def test_the_names_that_such_a_pattern_describes_are_not_checked(
    draft: str, pattern: str, closed: dict[str, bool]
) -> None:
    schema = {
        "$schema": f"https://json-schema.org/draft/{draft}/schema", "required": ["id"],
        "patternProperties": {pattern: {"type": "string"}, "^n": {"type": "integer"}},
    } | closed  # fmt: skip
    assert schema_error(schema, {"id": 1, "n": 2}) is None
    assert schema_error(schema, {"id": 1, "n": "x"}) == "type fails at /n"
    assert schema_error(schema, {"n": 2}) == "required fails at /"


def test_a_number_that_cannot_be_checked_in_a_further_field_is_not_valid() -> None:
    schema = {"patternProperties": {"^n": True}, "additionalProperties": {"multipleOf": 0.1}}
    assert schema_error(schema, {"a": 10**399}) == "the schema cannot be applied to the answer: OverflowError"


def test_the_names_of_fields_are_checked_by_the_patterns_that_can_be_read() -> None:
    schema = {"patternProperties": {"^n": {"type": "integer"}}, "additionalProperties": False}
    assert schema_error(schema, {"n": 1}) is None
    assert schema_error(schema, ["n"]) is None
    assert schema_error(schema, {"n": "x"}) == "type fails at /n"
    assert schema_error(schema, {"n": 1, "a": 1}) == "additionalProperties fails at /"


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ([{"a": 1}, {"a": 2}, [1], 1, True, "1", None], None),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], "uniqueItems fails at /"),
        ([1, 1.0], "uniqueItems fails at /"),
        ([[10**30], [10**30]], "uniqueItems fails at /"),
        ("aa", None),
    ],
)
def test_items_of_a_list_are_unique_as_json_values(items: object, error: str | None) -> None:
    assert schema_error({"uniqueItems": True}, items) == error
    assert schema_error({"uniqueItems": False}, items) is None


def test_a_long_list_is_validated_in_little_time() -> None:
    unlike = [{"a": number} if number % 2 else [number] for number in range(5_000)]
    began = time.thread_time()
    assert schema_error({"uniqueItems": True}, unlike) is None
    assert str(schema_error({"items": {"type": "string"}}, [1] * 100_000)).startswith("type fails at /")
    assert time.thread_time() - began < 1.0  # it took 20 s


def test_a_valid_schema_is_checked_once() -> None:
    fields = {f"field{number}": {"type": "string", "minLength": 1} for number in range(100)}
    schema = {"type": "object", "properties": fields, "additionalProperties": False}
    times = [time.thread_time()]
    for _ in range(2):
        assert schema_error(schema, {"field1": "a"}) is None
        times.append(time.thread_time())
    first, second = times[1] - times[0], times[2] - times[1]
    assert second < first / 4  # a fiftieth


def test_an_invalid_schema_is_one_each_time() -> None:
    for _ in range(2):
        assert schema_error({"type": "nonsense"}, 1) == "the schema itself is not valid at /type"
