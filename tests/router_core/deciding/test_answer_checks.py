"""The checks that a role makes of an answer."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.answer_policy import CheckKind
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.deciding.answer_checks import check_answer, failed_check, uses_schemas
from openfall.router_core.deciding.job_role import get_role
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.jobs.reasoning import without_reasoning
from openfall.router_core.jobs.request_body import get_schema, has_tool_call
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.execution.json_schema import schema_error
from tests.router_core.decisions import CATALOG, completion, job

K = CheckKind
NO_JSON, NO_BLOCK = "the answer is not JSON", "no closed code block is in the answer"
NO_HTML = "no HTML is in the answer"
NO_DIAGRAM = "no Mermaid diagram is in the answer: neither a mermaid block nor a text that begins as one"
BLOCK = "```python\nprint(1)\n```"


def never(schema, value):
    raise AssertionError("no schema was to be validated")


def check(text, *kinds, pattern=None, validates=never, **more):
    role = Role(chain=("small",), checks=kinds, pattern=pattern)
    return failed_check(role, completion(text, **more), job(), validates)


@pytest.mark.parametrize(
    ("kind", "text", "failed"),
    [
        pytest.param(K.NOT_EMPTY, "a", None, id="a letter is not empty"),
        pytest.param(K.NOT_EMPTY, " \n", "the answer is empty", id="white space is empty"),
        pytest.param(K.NOT_EMPTY, "<think>hm</think>\n", "the answer is empty", id="reasoning alone is empty"),
        pytest.param(K.JSON, '{"a": [1, null]}', None, id="an object is JSON"),
        pytest.param(K.JSON, '```json\n{"a": 1}\n```', None, id="a fenced object is JSON"),
        pytest.param(K.JSON, '<think>an object?</think>{"a": 1}', None, id="JSON after reasoning is JSON"),
        pytest.param(K.JSON, 'Here you are: {"a": 1}', NO_JSON, id="JSON with words before it is not"),
        pytest.param(K.JSON, '```json\n{"a": 1}\n```\nBye.', NO_JSON, id="a fenced object with words after it is not"),
        pytest.param(K.JSON, "```\n1\n```\n\n```\n2\n```", NO_JSON, id="two blocks are not JSON"),
        pytest.param(K.JSON, '{"a": 1', NO_JSON, id="half an object is not JSON"),
        pytest.param(K.JSON, "NaN", NO_JSON, id="what only Python takes for JSON is not"),
        pytest.param(K.JSON, "[" * 100_000, NO_JSON, id="a tower of brackets is not JSON"),
        pytest.param(K.JSON, "[" + "[]," * 200_000 + "[]]", NO_JSON, id="a text of very many values is not JSON"),
        pytest.param(K.CODE_BLOCK, f"So:\n{BLOCK}\nDone.", None, id="a block among words"),
        pytest.param(K.CODE_BLOCK, "~~~\na\n~~~", None, id="a block of tildes"),
        pytest.param(K.CODE_BLOCK, "````\n```\na\n```\n````", None, id="a block with a block in it"),
        pytest.param(K.CODE_BLOCK, "```a\n```b\n```", None, id="a fence with words does not close a block"),
        pytest.param(K.CODE_BLOCK, "```python\nprint(1)", NO_BLOCK, id="an open block was cut off"),
        pytest.param(K.CODE_BLOCK, "````\na\n```", NO_BLOCK, id="a shorter fence does not close a block"),
        pytest.param(K.CODE_BLOCK, "```\n\n```", NO_BLOCK, id="an empty block is none"),
        pytest.param(K.CODE_BLOCK, "use ```x``` here", NO_BLOCK, id="code in a line is no block"),
        pytest.param(K.MERMAID, "So:\n```mermaid\ngraph TD\nA-->B\n```", None, id="a mermaid block"),
        pytest.param(K.MERMAID, "```Mermaid\npie\n```", None, id="a Mermaid block"),
        pytest.param(K.MERMAID, "graph TD\nA-->B", None, id="a diagram without a fence"),
        pytest.param(K.MERMAID, "stateDiagram-v2\n[*] --> A", None, id="a diagram of a second version"),
        pytest.param(K.MERMAID, "---\ntitle: T\n---\n%% note\nflowchart LR\n", None, id="front matter and comments"),
        pytest.param(K.MERMAID, BLOCK, NO_DIAGRAM, id="another block is no diagram"),
        pytest.param(K.MERMAID, "```mermaid\n\n```", NO_DIAGRAM, id="an empty mermaid block is no diagram"),
        pytest.param(K.MERMAID, "```mermaid\ngraph TD", NO_DIAGRAM, id="an open mermaid block was cut off"),
        pytest.param(K.MERMAID, "graphs are nice", NO_DIAGRAM, id="a word that begins like a diagram is none"),
        pytest.param(K.MERMAID, "A journey: ...", NO_DIAGRAM, id="a word in the middle is none"),
        pytest.param(K.HTML, "<!DOCTYPE html>\n<html></html>", None, id="a document is HTML"),
        pytest.param(K.HTML, '```html\n<div class="a">b</div>\n```', None, id="a fenced element is HTML"),
        pytest.param(K.HTML, "<br/>", None, id="an empty element is HTML"),
        pytest.param(K.HTML, "if a < b and c > d", NO_HTML, id="a comparison is not HTML"),
        pytest.param(K.HTML, "<div", NO_HTML, id="half an element is not HTML"),
    ],
)
def test_each_form_passes_or_fails(kind, text, failed):
    assert check(text, kind) == failed


def test_every_kind_of_check_is_known():
    for kind in CheckKind:
        check("text", kind)


def test_the_first_check_that_fails_is_reported():
    assert check("", K.CODE_BLOCK, K.NOT_EMPTY) == NO_BLOCK
    assert check(BLOCK, K.NOT_EMPTY, K.CODE_BLOCK, K.HTML) == NO_HTML


def test_a_pattern_is_searched_in_the_answer_and_not_in_its_reasoning():
    assert check("the answer is 42", pattern=r"\d+", validates=schema_error) is None
    failed = "the pattern '\\\\d+' is not found in the answer"
    assert check("<think>42?</think>no idea", pattern=r"\d+", validates=schema_error) == failed


SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("body", "schema"),
    [
        pytest.param(
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}}, SCHEMA,
            id="openai",
        ),
        pytest.param({"response_format": {"type": "json_object"}}, None, id="openai, any object"),
        pytest.param(
            {"output_format": {"type": "json_schema", "schema": SCHEMA}}, SCHEMA, id="anthropic, the older place"
        ),
        pytest.param(
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, SCHEMA,
            id="anthropic, the newer place",
        ),
        pytest.param({"format": SCHEMA}, SCHEMA, id="ollama"),
        pytest.param({"format": "json"}, None, id="ollama, any JSON"),
        pytest.param({"response_format": "json"}, None, id="what is no object"),
        pytest.param({}, None, id="none"),
    ],
)  # fmt: skip
def test_the_schema_of_a_request(body, schema):
    assert get_schema(body) == schema


@pytest.mark.parametrize(
    ("text", "body", "says", "failed"),
    [
        pytest.param('{"a": 1}', {"format": SCHEMA}, None, None, id="it holds"),
        pytest.param(
            '{"a": 1}', {"format": SCHEMA}, "$.a: not a string",
            "the answer does not match the schema of its request: $.a: not a string", id="it does not",
        ),
        pytest.param("a: 1", {"format": SCHEMA}, "unread", NO_JSON, id="it is no JSON"),
        pytest.param('{"a": 1}', {}, "unread", None, id="the request has no schema"),
    ],
)  # fmt: skip
def test_the_schema_of_the_request_holds(text, body, says, failed):
    validated = []

    def validates(schema, value):
        validated.append((schema, value))
        return says

    role = Role(chain=("small",), checks=(K.JSON_SCHEMA,))
    assert failed_check(role, completion(text), job(body=body), validates) == failed
    assert validated in ([], [(SCHEMA, {"a": 1})])
    assert bool(validated) == (says != "unread" and bool(body))


TOOL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        pytest.param({"choices": [{"message": {"tool_calls": [TOOL]}}]}, True, id="openai"),
        pytest.param({"choices": [{"message": {"function_call": {"name": "f"}}}]}, True, id="openai, of old"),
        pytest.param({"content": [{"type": "text"}, {"type": "tool_use"}]}, True, id="anthropic"),
        pytest.param({"message": {"tool_calls": [TOOL]}}, True, id="ollama"),
        pytest.param({"choices": [{"message": {"content": "a", "tool_calls": None}}]}, False, id="openai, a text"),
        pytest.param({"content": [{"type": "text", "text": "a"}]}, False, id="anthropic, a text"),
        pytest.param({"choices": ["?"], "content": "a"}, False, id="what is no response"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_a_response_that_calls_a_tool(body, calls):
    assert has_tool_call(body) == calls
    failed = check("", K.NOT_EMPTY, body=body)
    assert failed == (None if calls else "the answer is empty")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("a", "a", id="no reasoning"),
        pytest.param("\n<think>x\ny</think>\n\na", "a", id="a block in front"),
        pytest.param("<thinking>x</thinking>a", "a", id="by its other name"),
        pytest.param("<think>x</think><think>y</think>a", "a", id="two blocks"),
        pytest.param("<think>cut off", "", id="a block that never ends"),
        pytest.param("x\n</think>\na", "a", id="a block whose beginning the template wrote"),
        pytest.param("write <think> and\n</think>\n", "write <think> and\n</think>", id="a text about such a block"),
        pytest.param("it ends with </think> then", "it ends with </think> then", id="a text that names its end"),
    ],
)
def test_reasoning_is_not_the_answer(text, answer):
    assert without_reasoning(text) == answer


CHECKED = Catalog(
    backends=CATALOG.backends,
    models=CATALOG.models,
    roles={"artist": Role(chain=("small",), checks=(K.HTML,))},
    tasks={
        **CATALOG.tasks,
        "html": TaskType(chain=("small",), checks=(K.HTML,)),
        "prose": TaskType(chain=("small",)),
    },
)


@pytest.mark.parametrize(
    ("of", "role"),
    [
        pytest.param({"role": "artist", "task": "prose"}, CHECKED.roles["artist"], id="its role before its task"),
        pytest.param({"role": "gone", "task": "html"}, CHECKED.tasks["html"], id="its task when the role is gone"),
        pytest.param({"task": "html"}, CHECKED.tasks["html"], id="its task"),
        pytest.param({"task": "gone"}, None, id="none when the task is gone"),
        pytest.param({}, None, id="none of either"),
    ],
)
def test_the_role_that_applies_to_a_job(of, role):
    assert get_role(job(**of), CHECKED) == role


@pytest.mark.parametrize(
    ("of", "outcome", "checked"),
    [
        pytest.param({"role": "artist"}, completion("<p>a</p>"), completion("<p>a</p>"), id="an answer that holds"),
        pytest.param(
            {"role": "artist"}, completion("a"), Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=NO_HTML),
            id="an answer that does not",
        ),
        pytest.param({}, completion("a"), completion("a"), id="an answer without checks"),
        pytest.param(
            {"role": "artist"}, Failure(error_class=ErrorClass.AUTH), Failure(error_class=ErrorClass.AUTH),
            id="a failure",
        ),
    ],
)  # fmt: skip
def test_an_outcome_is_checked_by_its_role(of, outcome, checked):
    assert check_answer(outcome, job(**of), CHECKED, never) == checked


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("[" + "[]," * 200_000 + "[]]", "the answer has more than 300,000 values"),
        ("[" * 101 + "]" * 101, "the answer is nested more than 100 levels deep"),
        ("[" * 100_000, "the answer is nested too deeply"),
        ("[" + "1," * 200_000 + "9" * 401 + "]", "the answer has a number of more than 400 digits"),
    ],
)
def test_a_text_past_the_bounds_of_json_matches_no_schema(text, failed):
    of_schema = job(body={"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}})
    role = Role(chain=("small",), checks=(K.JSON_SCHEMA,))
    assert failed_check(role, completion(text), of_schema, never) == failed


@pytest.mark.parametrize(
    ("kinds", "pattern", "uses"),
    [((), None, False), ((K.NOT_EMPTY, K.JSON), None, False), ((), "a", True), ((K.JSON_SCHEMA,), None, True),
     ((K.NOT_EMPTY, K.TOOL_CALLS), None, True)],
)  # fmt: skip
def test_a_role_uses_the_schema_validator_for_schemas_tools_and_patterns(kinds, pattern, uses):
    assert uses_schemas(Role(chain=("small",), checks=kinds, pattern=pattern)) is uses
