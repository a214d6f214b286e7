"""Bodies that are nearly right: a translator says what is wrong, and nothing else ever comes out of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_core.job import Dialect
from router_core.outcome import Completion, ErrorClass, Failure
from workers.backends import anthropic_answer, openai_answer
from workers.backends.base import Request
from workers.backends.translate import answered, request_for_anthropic, request_for_openai, spoken
from workers.backends.translate.refusals import CannotSay, Unreadable

hard = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
ODD = st.sampled_from(
    [None, True, 0, -1, 2, 1.5, "", "stop", "{", "data:x", [], [1], [None], {}, {"type": 3}, {"type": "x"}, 2**70]
)


def shape(**fields: object) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields: each as it should be, or odd."""
    kinds = {
        key: (value if isinstance(value, st.SearchStrategy) else st.just(value)) | ODD for key, value in fields.items()
    }
    return st.fixed_dictionaries({}, optional=kinds)


def some(*kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(*kinds, ODD), max_size=3)


SCHEMA = shape(type="object", properties=shape(a=shape(type="string", minLength=1)), required=["a"], anyOf=[{}])
SOURCE = shape(type="base64", media_type="application/pdf", data="JVBE", url="https://h", content="x")
PARTS = some(
    shape(type="text", text="a", cache_control={}),
    shape(type="image_url", image_url=shape(url="https://h/a.png")),
    shape(type="file", file=shape(file_data="JVBE", filename="a")),
    shape(type="image", source=SOURCE),
    shape(type="document", source=SOURCE, title="t", context="c"),
    shape(type="tool_use", id="t", name="n", input={"a": 1}),
    shape(type="tool_result", tool_use_id="t", content="x", is_error=True),
    shape(type="search_result", title="t", source="s", content=[]),
    shape(type="thinking", thinking="t", signature="s"),
)
CALLS = some(shape(id="c", type="function", function=shape(name="f", arguments='{"a":1}')))
SAID = {"content": st.one_of(PARTS, st.just("a")), "tool_calls": CALLS, "refusal": "a", "reasoning_content": "a"}
TURN = shape(role="user", tool_call_id="c", thinking_blocks=PARTS, **SAID)
OTHER = shape(role="assistant", **SAID)
TOOL = shape(type="function", function=shape(name="f", parameters=SCHEMA), name="f", input_schema=SCHEMA)
FORMAT = shape(type="json_schema", json_schema=shape(schema=SCHEMA), schema=SCHEMA)
BODY = shape(
    messages=some(TURN, OTHER),
    system=PARTS,
    tools=some(TOOL),
    tool_choice=shape(type="tool", name="f", disable_parallel_tool_use=True, function=shape(name="f")),
    response_format=FORMAT,
    output_config=shape(effort="low", format=FORMAT),
    thinking=shape(type="enabled", budget_tokens=1024),
    reasoning_effort="high",
    max_tokens=9,
    stop="a",
    temperature=1,
    metadata=shape(user_id="u"),
    user="u",
    parallel_tool_calls=False,
)


@pytest.mark.parametrize("translate", [request_for_anthropic.request, request_for_openai.request])
@hard
@given(body=BODY)
def test_a_body_is_translated_or_told_what_is_wrong_with_it(translate: Any, body: dict[str, Any]) -> None:
    with suppress(CannotSay, Unreadable):
        assert translate(body)["messages"] is not None


USAGE = shape(prompt_tokens=3, completion_tokens=3, input_tokens=3, output_tokens=3, prompt_tokens_details={"a": 1})
COMPLETION = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": OTHER, "finish_reason": st.just("stop")}), min_size=1)},
    optional={"usage": USAGE | ODD, "id": ODD, "model": ODD},
)
MESSAGE = st.fixed_dictionaries(
    {"content": PARTS, "stop_reason": st.just("end_turn")}, optional={"usage": USAGE | ODD, "id": ODD, "model": ODD}
)


@pytest.mark.parametrize(
    ("ours", "theirs", "bodies", "read"),
    [
        ("anthropic", "openai", COMPLETION, openai_answer.outcome_of),
        ("openai", "anthropic", MESSAGE, anthropic_answer.outcome_of),
    ],
)
def test_an_answer_is_translated_or_malformed(ours: Dialect, theirs: Dialect, bodies: Any, read: Any) -> None:
    @hard
    @given(bodies)
    def every(body: dict[str, Any]) -> None:
        outcome = read(body)
        assert isinstance(outcome, Completion)
        told = answered(outcome, Request(body={}, upstream="m", timeout=1, dialect=ours), theirs)
        assert isinstance(told, Completion) or told.error_class is ErrorClass.MALFORMED

    every()


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (
            {"messages": [], "n": 2},
            Failure(error_class=ErrorClass.UNSUPPORTED, detail="n cannot be asked for at this model"),
        ),
        ({"messages": 3}, Failure(error_class=ErrorClass.BAD_REQUEST, detail="messages is not a list")),
    ],
)
def test_what_cannot_be_said_may_be_said_to_another_model_and_nonsense_to_none(
    body: dict[str, Any], failure: Failure
) -> None:
    assert spoken(Request(body=body, upstream="m", timeout=1), "anthropic") == failure
    assert failure.disposition.try_next_model is (failure.error_class is ErrorClass.UNSUPPORTED)


def test_a_dialect_that_is_the_backends_own_is_not_touched() -> None:
    body = {"messages": 3, "n": 2}
    assert spoken(Request(body=body, upstream="m", timeout=1), "openai") is body
