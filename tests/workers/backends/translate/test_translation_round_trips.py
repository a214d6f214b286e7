"""Round trips keep the roles, the texts, the tool calls and their results of any conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from openfall.workers.backends.translate import request_for_anthropic, request_for_openai
from tests.workers.backends.translate.official import ANTHROPIC, OPENAI, known

steady = settings(max_examples=150)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(str.strip).filter(bool)
"""Anthropic refuses texts of white space alone, and such an end of a begun answer."""

NAME = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
VALUE = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.lists(TEXT, max_size=2)
INPUT = st.dictionaries(TEXT, VALUE | st.dictionaries(TEXT, VALUE, max_size=2), max_size=3)
PICTURE = st.sampled_from(["https://h/a.png", "data:image/png;base64,iVBORw0KGgo=", "data:image/webp;base64,UklG"])


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """In OpenAI's dialect: a system perhaps, then users, answers, and the results of every call."""
    translated: list[dict[str, Any]] = [{"role": "system", "content": draw(TEXT)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        parts = [{"type": "text", "text": text} for text in draw(st.lists(TEXT, min_size=1, max_size=2))]
        parts += [{"type": "image_url", "image_url": {"url": url}} for url in draw(st.lists(PICTURE, max_size=2))]
        translated.append({"role": "user", "content": parts if len(parts) > 1 else parts[0]["text"]})
        for _ in range(draw(st.integers(0, 2))):
            translated += draw(tool_use())
        translated.append({"role": "assistant", "content": draw(TEXT)})
    return translated


@st.composite
def tool_use(draw: st.DrawFn) -> list[dict[str, Any]]:
    calls = [
        {
            "id": id,
            "type": "function",
            "function": {"name": draw(NAME), "arguments": orjson.dumps(draw(INPUT)).decode()},
        }
        for id in draw(st.lists(NAME, min_size=1, max_size=3, unique=True))
    ]
    answer = {"role": "assistant", "content": draw(st.none() | TEXT), "tool_calls": calls}
    return [answer, *({"role": "tool", "tool_call_id": call["id"], "content": draw(TEXT)} for call in calls)]


def meant(messages: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """The content of a conversation, independent of its form. A call has its number, and a result that of its call."""
    numbers: dict[str, int] = {}

    def number(call_id: str) -> int:
        numbers[call_id] = max(numbers.values(), default=0) + 1
        return numbers[call_id]

    for message in messages:
        content = message["content"]
        calls = [
            (number(call["id"]), call["function"]["name"], orjson.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", [])
        ]
        yield message["role"], content, calls, numbers.get(message.get("tool_call_id", ""))


@steady
@given(conversations())
def test_openai_to_anthropic_and_back_keeps_the_content(messages: list[dict[str, Any]]) -> None:
    there = request_for_anthropic.request({"messages": messages})
    checked = {"max_tokens": 9, **there}
    assert known(ANTHROPIC, checked) == {"model": "m", **checked}
    roles = [turn["role"] for turn in there["messages"]]
    assert roles == [("user", "assistant")[index % 2] for index in range(len(roles))]
    back = request_for_openai.request(there)
    assert known(OPENAI, back) == {"model": "m", **back}
    assert list(meant(back["messages"])) == list(meant(messages))


@steady
@given(conversations(), TEXT)
def test_anthropic_to_openai_and_back_is_the_same(messages: list[dict[str, Any]], system: str) -> None:
    begun = request_for_anthropic.request({"messages": messages}) | {"system": system}
    assert request_for_anthropic.request(request_for_openai.request(begun)) == begun


TOOLS = st.lists(
    st.fixed_dictionaries(
        {"name": NAME, "input_schema": st.just({"type": "object", "properties": {"a": {"type": "string"}}})},
        optional={"description": TEXT},
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: str(tool["name"]),
)
CHOICES = st.sampled_from([{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "look"}])


@steady
@given(TOOLS, st.none() | CHOICES, st.booleans())
def test_tools_and_their_choice_are_the_same_there_and_back(
    tools: list[dict[str, Any]], choice: dict[str, Any] | None, alone: bool
) -> None:
    result = {"messages": [{"role": "user", "content": "Hi"}], "tools": tools}
    if choice:
        parallel = {"disable_parallel_tool_use": True} if alone and choice["type"] != "none" else {}
        result["tool_choice"] = {**choice, **parallel}
    assert request_for_anthropic.request(request_for_openai.request(result)) == result
