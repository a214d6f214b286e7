"""openfall makes no request that its receiver refuses: what it translates is in the form that the receiver takes."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import translate_request

HI = {"role": "user", "content": "Hi"}
JPEG = "/9j/4AAQSkZJRg=="
PNG = "iVBORw0KGgoAAAANSUhEUg=="
Json = dict[str, Any]


def translated(body: Json, to: Dialect = "anthropic", dialect: Dialect = "openai") -> Any:
    return translate_request(Request(body=body, upstream="m", timeout=1, dialect=dialect), to)


def turn(role: str, content: Any, **more: Any) -> Json:
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize("blank", ["", " ", "\n", "\t\n ", "\u00a0", "\u3000"])
def test_texts_of_white_space_alone_are_omitted_for_anthropic(blank: str) -> None:
    parts = [{"type": "text", "text": blank}, {"type": "text", "text": "Go on"}]
    body = {
        "messages": [
            turn("system", blank),
            HI,
            turn("assistant", blank),
            turn("user", [{"type": "text", "text": blank}]),
            turn("assistant", blank, refusal=blank),
            turn("user", parts),
        ]
    }
    two = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Go on"}]
    assert translated(body) == {"messages": [turn("user", two)]}


def test_white_space_at_the_end_of_a_begun_answer_is_removed_for_anthropic() -> None:
    body = {"messages": [HI, turn("assistant", "Once upon a \n")]}
    assert translated(body)["messages"][-1] == turn("assistant", "Once upon a")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (f"data:image/jpg;base64,{JPEG}", "image/jpeg"),
        (f"data:image/pjpeg;base64,{JPEG}", "image/jpeg"),
        (f"data:IMAGE/JPEG;base64,{JPEG}", "image/jpeg"),
        (f"data:image/png;base64,{JPEG}", "image/jpeg"),
        (f"data:application/octet-stream;base64,{PNG}", "image/png"),
        (f"data:;base64,{PNG}", "image/png"),
        (f"data:image/x-png;charset=utf-8;base64,{PNG[:8]}\n{PNG[8:]}", "image/png"),
        ("data:image/webp;base64,UklGRhoAAABXRUJQ", "image/webp"),
        ("data:image/jpg;base64,AAAA", "image/jpeg"),
    ],
)
def test_an_image_has_its_right_type_for_anthropic(url: str, kind: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    source = translated({"messages": [turn("user", [part])]})["messages"][0]["content"][0]["source"]
    assert source["media_type"] == kind
    assert not set(source["data"]) & set(" \n")


@pytest.mark.parametrize("kind", ["image/svg+xml", "image/bmp", "image/heic", "application/pdf"])
def test_an_image_that_anthropic_cannot_read_goes_to_the_next_model(kind: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:{kind};base64,AAAA"}}
    outcome = translated({"messages": [turn("user", [part])]})
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.UNSUPPORTED


@pytest.mark.parametrize("kind", ["application/x-pdf", "application/octet-stream", "application/pdf"])
def test_a_pdf_is_one_by_its_beginning(kind: str) -> None:
    part = {"type": "file", "file": {"file_data": f"data:{kind};base64,JVBERi0xLjcK"}}
    source = translated({"messages": [turn("user", [part])]})["messages"][0]["content"][0]["source"]
    assert source["media_type"] == "application/pdf"


NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
NUMBERED = {"properties": {"id": {"type": "integer"}}, "required": ["id"]}
BOTH = {"name": {"type": "string"}, "id": {"type": "integer"}}
SCHEMAS: dict[str, tuple[Any, Json]] = {
    "nothing": (None, {"type": "object", "properties": {}}),
    "an empty schema": ({}, {"type": "object", "properties": {}}),
    "an object without properties": ({"type": "object"}, {"type": "object", "properties": {}}),
    "no type": (NUMBERED, {"type": "object", **NUMBERED}),
    "an object or nothing": ({**NUMBERED, "type": ["object", "null"]}, {"type": "object", **NUMBERED}),
    "anyOf": (
        {"anyOf": [NAMED, NUMBERED]},
        {"type": "object", "properties": BOTH, "description": "Give one of: name or id."},
    ),
    "oneOf beside properties": (
        {"type": "object", "description": "Find", "properties": BOTH, "oneOf": [{"required": ["id"]}, {}]},
        {"type": "object", "description": "Find\n\nGive one of: id or nothing.", "properties": BOTH},
    ),
    "anyOf with nothing": (
        {"anyOf": [NAMED, {"type": "null"}]},
        {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    ),
    "allOf": ({"allOf": [NAMED, NUMBERED]}, {"type": "object", "properties": BOTH, "required": ["name", "id"]}),
    "a reference": (
        {"$ref": "#/$defs/Named", "$defs": {"Named": NAMED}},
        NAMED,
    ),
    "references in branches": (
        {"allOf": [{"$ref": "#/$defs/Named"}], "$defs": {"Named": NAMED}},
        NAMED,
    ),
    "a reference with escaped characters": (
        {"$ref": "#/$defs/a~1b~0c%20d", "$defs": {"a/b~c d": NAMED}},
        NAMED,
    ),
    "a circle of references": ({"$ref": "#"}, {"type": "object", "properties": {}}),
    "a reference in a circle": (
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"type": "object", "properties": {}},
    ),
    "conditions": ({**NAMED, "not": {"required": ["id"]}, "if": {}, "then": {}}, NAMED),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS.values(), ids=SCHEMAS.keys())
def test_the_schema_of_a_tool_is_a_plain_object_at_its_root(schema: Any, expected: Json) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    got = translated({"messages": [HI], "tools": [tool]})["tools"][0]["input_schema"]
    assert {key: value for key, value in got.items() if key != "$defs"} == expected


def test_a_tool_of_anthropic_has_a_plain_object_for_openai_too() -> None:
    tool = {"name": "f", "input_schema": {"type": "object", "anyOf": [NAMED, NUMBERED]}}
    body = {"messages": [HI], "max_tokens": 5, "tools": [tool]}
    parameters = translated(body, "openai", "anthropic")["tools"][0]["function"]["parameters"]
    assert parameters["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf"} & set(parameters)


def test_a_tool_whose_arguments_are_no_object_goes_to_the_next_model() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}
    outcome = translated({"messages": [HI], "tools": [tool]})
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.UNSUPPORTED


def test_thinking_without_a_signature_is_not_sent_to_anthropic() -> None:
    blocks = [
        {"type": "thinking", "thinking": "of another provider", "signature": ""},
        {"type": "thinking", "thinking": "its own", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    body = {"messages": [HI, turn("assistant", "Yes", thinking_blocks=blocks), HI]}
    content = translated(body)["messages"][1]["content"]
    assert content == [*blocks[1:], {"type": "text", "text": "Yes"}]


OLDER = [
    HI,
    turn("assistant", None, function_call={"name": "now", "arguments": '{"zone":"UTC"}'}),
    {"role": "function", "name": "now", "content": "12:00"},
]


def test_an_older_function_call_of_a_history_is_a_tool_call() -> None:
    use, result = (message["content"][0] for message in translated({"messages": OLDER})["messages"][1:])
    assert (use["name"], use["input"]) == ("now", {"zone": "UTC"})
    assert (result["tool_use_id"], result["content"]) == (use["id"], "12:00")
    turn, answer = translated({"messages": OLDER}, "ollama")["messages"][1:]
    assert turn["tool_calls"][0]["function"] == {"name": "now", "arguments": {"zone": "UTC"}}
    assert (answer["role"], answer["tool_name"]) == ("tool", "now")


@pytest.mark.parametrize("more", [{"refusal": "No."}, {"reasoning_content": "Hm."}, {}])
def test_an_answer_without_content_in_a_history_is_translated(more: Json) -> None:
    messages = translated({"messages": [HI, turn("assistant", None, **more), HI]})["messages"]
    assert [message["role"] for message in messages] in (["user", "assistant", "user"], ["user"])
    assert len(translated({"messages": [HI, turn("assistant", None, **more), HI]}, "ollama")["messages"]) == 3


CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "42"}
OF_HISTORY = {"tools": [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]}


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        ({"messages": [HI, turn("assistant", None, tool_calls=[CALL]), RESULT]}, "openai"),
        ({"messages": [HI, turn("assistant", None, function_call={"name": "look", "arguments": "{}"})]}, "openai"),
        (
            {"messages": [HI, turn("assistant", "", tool_calls=[{"function": {"name": "look", "arguments": {}}}])]},
            "ollama",
        ),
        (
            {
                "input": [HI, {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}],
                "tools": [{"type": "web_search"}],
            },
            "responses",
        ),
    ],
    ids=["a call", "an older call", "Ollama's", "Responses without a tool of ours"],
)
def test_a_conversation_with_calls_has_the_tools_for_anthropic_although_none_is_offered(
    body: Json, dialect: Dialect
) -> None:
    sent = translated(body, dialect=dialect)
    assert sent["tools"] == OF_HISTORY["tools"]
    assert sent["tool_choice"] == {"type": "none"}


def test_the_results_of_tools_stand_first_in_a_turn_for_anthropic() -> None:
    body = {"messages": [HI, turn("assistant", None, tool_calls=[CALL]), turn("user", "Wait."), RESULT]}
    assert [block["type"] for block in translated(body)["messages"][-1]["content"]] == ["tool_result", "text"]


def closed(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"type": "integer", "format": "int32"}, {"type": "integer", "description": '{"format":"int32"}'}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "string", "$comment": "x", "$id": "y"}, {"type": "string"}),
        (
            {"type": "array", "items": {"type": "string"}, "contains": {"const": "x"}},
            {"type": "array", "items": {"type": "string"}, "description": '{"contains":{"const":"x"}}'},
        ),
        (
            {"type": "integer", "minimum": 1, "default": 2},
            {"type": "integer", "default": 2, "description": '{"minimum":1}'},
        ),
    ],
    ids=["a format of numbers", "a known format", "oneOf", "labels", "contains", "a default"],
)
def test_the_schema_of_an_answer_and_of_a_strict_tool_has_what_anthropic_takes(given: Json, sent: Json) -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **closed(n=given)}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = translated({"messages": [HI], "response_format": wanted})
    assert answer["output_config"]["format"]["schema"] == closed(n=sent)
    function = {"name": "f", "parameters": schema, "strict": True}
    tool = translated({"messages": [HI], "tools": [{"type": "function", "function": function}]})
    assert tool["tools"][0]["input_schema"] == closed(n=sent)
