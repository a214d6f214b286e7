"""Requests as callers write them, which one receiver takes and another refuses, become what the receiver takes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.stream_pieces import Piece, ToolStart
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import (
    ollama_to_openai,
    openai_to_ollama,
    request_for_anthropic,
    request_for_openai,
    translate_response,
)
from openfall.workers.backends.translate.messages_for_anthropic import NO_RESULT
from openfall.workers.backends.translate.piece_translation import translated_pieces
from openfall.workers.backends.translate.tool_names import MAX_LENGTHS, tool_name

HI = {"role": "user", "content": "Hi"}
PNG = "iVBORw0KGgoAAAANSUhEUg=="
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


def for_anthropic(*messages: Any, **more: Any) -> dict[str, Any]:
    return request_for_anthropic.request({"messages": list(messages), **more})


NAMES = ("files.read", "ns/a:b", "搜索", "x" * 200, "fits")


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_has_a_name_that_anthropic_takes_and_its_own_name_in_the_answer(name: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
    history = [HI, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c"}]
    choice = {"type": "function", "function": {"name": name}}
    body = {"messages": history, "tools": [tool(name), tool("files_read")], "tool_choice": choice}
    sent = request_for_anthropic.request(body)
    changed = sent["tools"][0]["name"]
    assert re.fullmatch(r"[A-Za-z0-9_-]+", changed)
    assert len(changed) <= MAX_LENGTHS["anthropic"]
    assert sent["tools"][1]["name"] == "files_read" != changed
    assert sent["tool_choice"]["name"] == changed == sent["messages"][1]["content"][0]["name"]
    block = {"type": "tool_use", "id": "t", "name": changed, "input": {}}
    answer = Completion(text="", finish_reason="tool_use", body={"content": [block], "stop_reason": "tool_use"})
    request = Request(body=body, upstream="m", timeout=1)
    translated = translate_response(answer, request, "anthropic")
    assert isinstance(translated, Completion)
    assert translated.body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == name
    received: list[Piece] = []
    translated_pieces(request, "anthropic", received.extend)([ToolStart(0, 0, "t", changed)])
    assert [piece.name for piece in received if isinstance(piece, ToolStart)] == [name]


def test_a_long_name_of_anthropics_dialect_has_one_that_openai_takes() -> None:
    name = "mcp__" + "x" * 90
    block = {"type": "tool_use", "id": "t", "name": name, "input": {}}
    turn = {"role": "assistant", "content": [block]}
    body = {"messages": [HI, turn], "tools": [{"name": name, "input_schema": SCHEMA}], "max_tokens": 5}
    sent = request_for_openai.request(body | {"tool_choice": {"type": "tool", "name": name}})
    changed = sent["tools"][0]["function"]["name"]
    assert len(changed) == MAX_LENGTHS["openai"]
    assert sent["tool_choice"]["function"]["name"] == changed
    assert sent["messages"][1]["tool_calls"][0]["function"]["name"] == changed
    call = {"id": "c", "type": "function", "function": {"name": changed, "arguments": "{}"}}
    choice = {"index": 0, "message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    answer = Completion(text="", finish_reason="tool_calls", body={"choices": [choice]})
    request = Request(body=body, upstream="m", timeout=1, dialect="anthropic")
    translated = translate_response(answer, request, "openai")
    assert isinstance(translated, Completion)
    assert translated.body["content"][0]["name"] == name


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_names_that_differ_stay_different(dialect: Dialect) -> None:
    names = [*NAMES, "files/read", "files_read", "x" * 201]
    assert len({tool_name(name, dialect) for name in names}) == len(names)


@pytest.mark.parametrize(
    "part",
    [
        "look",
        {"text": "look"},
        {"type": "input_text", "text": "look"},
        {"type": "output_text", "text": "look", "annotations": []},
    ],
)
def test_a_text_in_any_form_is_a_text(part: Any) -> None:
    assert for_anthropic({"role": "user", "content": [part]})["messages"] == [{"role": "user", "content": "look"}]
    sent = openai_to_ollama.request({"messages": [{"role": "User", "content": [part]}]})
    assert sent["messages"] == [{"role": "user", "content": "look"}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{PNG.replace('=', '%3D')}"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image", "image_url": PNG},
        {"type": "image", "image": f"data:image/png;base64,{PNG}", "mediaType": "image/png"},
        {"type": "image", "image": PNG},
        {"type": "image", "data": PNG, "mimeType": "image/png"},
        {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"},
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
        {"type": "image", "url": f"data:image/png;base64,{PNG}"},
    ],
)
def test_an_image_in_any_form_is_an_image(part: Any) -> None:
    (block,) = for_anthropic({"role": "user", "content": [part]})["messages"][0]["content"]
    assert block["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}
    assert openai_to_ollama.request({"messages": [{"role": "user", "content": [part]}]})["messages"][0]["images"] == [
        PNG
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ],
)
def test_a_file_in_any_form_is_a_document(part: Any) -> None:
    (block,) = for_anthropic({"role": "user", "content": [part]})["messages"][0]["content"]
    assert block["source"] == {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert block["title"] == "a.pdf"


@pytest.mark.parametrize(
    ("stop", "options"),
    [("a", {"stop": ["a"]}), (["", "a"], {"stop": ["a"]}), ([""], None), ("", None), ([None], None)],
)
def test_an_empty_stop_does_not_reach_ollama(stop: Any, options: Any) -> None:
    assert openai_to_ollama.request({"messages": [HI], "stop": stop}).get("options") == options


def test_an_image_by_its_address_and_reasoning_in_parts() -> None:
    part = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    (block,) = for_anthropic({"role": "user", "content": [part]})["messages"][0]["content"]
    assert block["source"]["url"] == "https://example.org/a.png"
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    turn = {"role": "assistant", "content": [thought, {"type": "text", "text": "Yes."}]}
    assert for_anthropic(HI, turn)["messages"][1] == {"role": "assistant", "content": "Yes."}


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("any", {"type": "any"}),
        ({"type": "auto"}, {"type": "auto"}),
        ({"type": "any"}, {"type": "any"}),
        ({"type": "none"}, {"type": "none"}),
        ({"type": "function", "name": "f"}, {"type": "tool", "name": "f"}),
        ({"type": "tool", "name": "f"}, {"type": "tool", "name": "f"}),
    ],
)
def test_a_tool_choice_in_the_words_of_another_provider_is_understood(choice: Any, meant: Any) -> None:
    assert for_anthropic(HI, tools=[tool("f")], tool_choice=choice)["tool_choice"] == meant


@pytest.mark.parametrize(
    "given",
    [{"function": {"name": "f", "parameters": SCHEMA}}, {"type": "function", "name": "f", "parameters": SCHEMA}],
)
def test_a_tool_without_its_type_or_its_function_is_a_function(given: Any) -> None:
    assert for_anthropic(HI, tools=[given, given])["tools"] == [{"name": "f", "input_schema": SCHEMA}]
    assert openai_to_ollama.request({"messages": [HI], "tools": [given]})["tools"][0]["function"]["name"] == "f"


@pytest.mark.parametrize("arguments", ['{"a":1}', {"a": 1}, '"{\\"a\\":1}"'])
def test_the_arguments_of_an_earlier_call_may_be_an_object_or_twice_encoded(arguments: Any) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [HI, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c"}]
    assert for_anthropic(*turns)["messages"][1]["content"][0]["input"] == {"a": 1}
    call["function"] = {"name": "f", "arguments": "null"}
    assert for_anthropic(*turns)["messages"][1]["content"][0]["input"] == {}


def test_a_call_without_a_result_gets_one_and_a_result_without_a_call_is_a_text() -> None:
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ("a", "b")]
    turns = [HI, {"role": "assistant", "content": None, "tool_calls": calls}]
    sent = for_anthropic(*turns, {"role": "tool", "tool_call_id": "a", "content": "r"}, HI)["messages"][2]["content"]
    assert [(block.get("tool_use_id"), block.get("content")) for block in sent] == [
        ("a", "r"), ("b", NO_RESULT), (None, None),
    ]  # fmt: skip
    assert [block["content"] for block in for_anthropic(*turns)["messages"][2]["content"]] == [NO_RESULT, NO_RESULT]
    sent = for_anthropic({"role": "tool", "tool_call_id": "z", "content": "r"}, HI)["messages"]
    assert sent[0]["content"][0] == {"type": "text", "text": "The result of an earlier tool call: r"}


def test_a_call_of_anthropics_without_a_result_gets_one_for_openai() -> None:
    uses = [{"type": "tool_use", "id": i, "name": "f", "input": {}} for i in ("a", "b")]
    given = [{"type": "tool_result", "tool_use_id": "b", "content": "r"}, {"type": "text", "text": "And?"}]
    turns = [HI, {"role": "assistant", "content": uses}, {"role": "user", "content": given}]
    sent = request_for_openai.request({"messages": turns})["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["content"] for message in sent[2:4]] == ["r", NO_RESULT]
    assert request_for_openai.request({"messages": turns[:2]})["messages"][-1]["content"] == NO_RESULT


def test_a_conversation_that_begins_with_a_greeting_begins_with_the_user_at_anthropic() -> None:
    sent = for_anthropic({"role": "assistant", "content": "Hello, I am a bot."}, HI)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]


def test_json_is_named_in_a_request_of_ollamas_that_only_its_format_asks_for_it() -> None:
    sent = ollama_to_openai.request({"messages": [HI], "format": "json"})
    assert "JSON" in sent["messages"][0]["content"]
    named = {"messages": [{"role": "user", "content": "Give me JSON."}], "format": "json"}
    assert ollama_to_openai.request(named)["messages"] == named["messages"]


def test_a_users_id_is_no_longer_than_its_receiver_takes() -> None:
    sent = request_for_openai.request({"messages": [HI], "metadata": {"user_id": "u" * 100}})
    assert len(sent["user"]) == 64
    assert request_for_openai.request({"messages": [HI], "metadata": {"user_id": "u"}})["user"] == "u"
    assert len(for_anthropic(HI, user="u" * 300)["metadata"]["user_id"]) == 256


def test_whole_numbers_with_a_point_are_whole_numbers() -> None:
    assert for_anthropic(HI, max_tokens=50.0)["max_tokens"] == 50
    options = openai_to_ollama.request({"messages": [HI], "max_tokens": 50.0, "seed": 1.0, "temperature": 1.0})
    assert repr(options["options"]) == "{'temperature': 1.0, 'seed': 1, 'num_predict': 50}"


def test_what_the_tools_of_anthropic_itself_did_is_left_out_for_others() -> None:
    results = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    blocks = [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, results]
    turn = {"role": "assistant", "content": [*blocks, {"type": "text", "text": "Found."}]}
    assert request_for_openai.request({"messages": [HI, turn]})["messages"][1]["content"] == "Found."


def test_a_call_without_an_input_and_a_reference_to_a_tool_are_read() -> None:
    use = {"type": "tool_use", "id": "a", "name": "f", "input": None}
    reference = {"type": "tool_reference", "tool_name": "g"}
    given = [{"type": "tool_result", "tool_use_id": "a", "content": [reference]}]
    turns = [HI, {"role": "assistant", "content": [use]}, {"role": "user", "content": given}]
    tools = [{"type": "function", "name": "f", "input_schema": SCHEMA}]
    sent = request_for_openai.request({"messages": turns, "tools": tools})
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert sent["messages"][2]["content"] == "g"
    assert sent["tools"] == [tool("f")]
