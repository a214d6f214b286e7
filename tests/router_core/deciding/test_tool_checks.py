"""The check of tool calls: their JSON, their schema and their names, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.answer_policy import CheckKind
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.deciding.answer_checks import failed_check
from openfall.router_core.jobs.request_body import calls_of, tool_schemas
from openfall.router_core.vocabulary import Dialect
from openfall.workers.execution.json_schema import schema_error
from tests.router_core.decisions import completion, job

SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"], "additionalProperties": False}
DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "ollama")
UNKNOWN = "tool call 1 names a tool that the request does not have"
NOT_JSON = "the arguments of tool call 1 are not a JSON object"
BROKEN = "the arguments of tool call 1 do not match the schema of the tool: "


def request(dialect: Dialect) -> dict[str, Any]:
    if dialect == "anthropic":
        return {"tools": [{"name": "look", "input_schema": SCHEMA}, {"type": "bash_20250124", "name": "bash"}]}
    functions = [{"name": "look", "parameters": SCHEMA}, {"name": "bash"}]
    return {"tools": [{"type": "function", "function": function} for function in functions]}


def answer(dialect: Dialect, *calls: tuple[Any, Any]) -> dict[str, Any]:
    """A response with these calls. openai has the arguments as text."""
    if dialect == "anthropic":
        return {"content": [{"type": "tool_use", "id": "a", "name": name, "input": value} for name, value in calls]}
    texts = [json.dumps(value) if dialect == "openai" and not isinstance(value, str) else value for _, value in calls]
    tool_calls = [
        {"id": "a", "function": {"name": name, "arguments": text}} for (name, _), text in zip(calls, texts, strict=True)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": tool_calls}
    return {"choices": [{"message": message}]} if dialect == "openai" else {"message": message}


def check(body: dict[str, Any], request: dict[str, Any], *kinds: CheckKind) -> str | None:
    role = Role(chain=("small",), checks=kinds or (CheckKind.TOOL_CALLS,))
    return failed_check(role, completion("", body=body), job(body=request), schema_error)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("calls", "failed"),
    [
        pytest.param([("look", {"at": "sky"})], None, id="a call that fits"),
        pytest.param([("bash", {"command": "ls"})], None, id="a tool without a schema"),
        pytest.param([("look", {"at": 3})], BROKEN + "type fails at /at", id="a wrong type"),
        pytest.param([("look", {})], BROKEN + "required fails at /", id="a missing argument"),
        pytest.param([("look", {"at": "sky", "x": 1})], BROKEN + "additionalProperties fails at /", id="one too many"),
        pytest.param([("lok", {"at": "sky"})], UNKNOWN, id="an unknown tool"),
        pytest.param([(None, {})], UNKNOWN, id="no name"),
        pytest.param([([], {})], UNKNOWN, id="a name that is none"),
        pytest.param([("look", '{"at": "sky')], NOT_JSON, id="arguments that are cut off"),
        pytest.param([("look", '{"at": NaN}')], NOT_JSON, id="a constant of Python"),
        pytest.param([("look", "[" * 100_000)], NOT_JSON, id="a tower of brackets"),
        pytest.param([("look", [1])], NOT_JSON, id="a list"),
        pytest.param([("bash", 3)], NOT_JSON, id="a number"),
        pytest.param([("bash", ""), ("bash", None)], None, id="no arguments"),
        pytest.param(
            [("look", {"at": "sky"}), ("look", {})], BROKEN.replace("1", "2") + "required fails at /", id="the second"
        ),
    ],
)  # fmt: skip
def test_a_tool_call_that_breaks_its_schema_is_no_json_or_names_an_unknown_tool_fails(
    dialect: Dialect, calls: list[tuple[Any, Any]], failed: str | None
) -> None:
    if dialect == "openai" and calls[0][1] is None:
        calls = [(name, value or "") for name, value in calls]
    assert check(answer(dialect, *calls), request(dialect)) == failed


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["look", "bash", "lok"]),
            st.dictionaries(st.sampled_from(["at", "x"]), st.text() | st.integers(), max_size=2),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_the_verdict_is_the_same_in_every_dialect(calls: list[tuple[str, dict[str, Any]]]) -> None:
    verdicts = {check(answer(dialect, *calls), request(dialect)) for dialect in DIALECTS}
    assert len(verdicts) == 1
    fits = all(
        name == "bash" or (name == "look" and set(value) == {"at"} and isinstance(value["at"], str))
        for name, value in calls
    )
    assert (verdicts == {None}) == fits


def test_every_choice_is_checked_and_the_old_form_of_a_call_too() -> None:
    wrong = {"function_call": {"name": "look", "arguments": "{}"}}
    body = {"choices": [{"message": {"content": "a"}}, {"message": wrong}]}
    functions = {"functions": [{"name": "look", "parameters": SCHEMA}]}
    assert check(body, functions) == BROKEN + "required fails at /"
    assert tool_schemas(functions) == {"look": SCHEMA}


def test_the_input_of_a_custom_tool_is_a_text() -> None:
    offered = {"tools": [{"type": "custom", "custom": {"name": "sql"}}]}

    def body(value: Any) -> dict[str, Any]:
        return {"choices": [{"message": {"tool_calls": [{"custom": {"name": "sql", "input": value}}]}}]}

    assert check(body("select 1"), offered) is None
    assert check(body({}), offered) == BROKEN + "type fails at /"


def test_without_the_check_a_tool_call_passes_and_with_it_a_text_does() -> None:
    wrong = answer("openai", ("lok", {}))
    assert check(wrong, request("openai"), CheckKind.NOT_EMPTY) is None
    unchecked = Role(chain=("small",))
    assert failed_check(unchecked, completion("", body=wrong), job(body=request("openai")), schema_error) is None
    text = completion("a", body={"choices": [{"message": {"content": "a"}}]})
    role = Role(chain=("small",), checks=(CheckKind.TOOL_CALLS, CheckKind.NOT_EMPTY))
    assert failed_check(role, text, job(body=request("openai")), schema_error) is None


@pytest.mark.parametrize("body", [{}, {"tools": None}, {"tools": ["?", {}, {"function": 3}, {"custom": {}}]}])
def test_an_invalid_tool_offers_no_tool(body: dict[str, Any]) -> None:
    assert tool_schemas(body) == {}


def test_an_invalid_call_counts_as_one_without_a_name() -> None:
    assert list(calls_of({"message": {"tool_calls": ["?"]}})) == [(None, {})]
    assert list(calls_of({"message": "?", "choices": "?", "content": "?"})) == []
