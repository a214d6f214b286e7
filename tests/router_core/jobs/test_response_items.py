"""Requests and answers of OpenAI's Responses are read like those of every dialect."""

from __future__ import annotations

from typing import Any

from openai.types.responses import Response

from openfall.router_core.deciding.accepted_refusals import accepts_refusals
from openfall.router_core.jobs import request_body
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.response_items import (
    call_item,
    input_messages,
    is_own,
    item_id,
    message_item,
    reasoning_item,
    refusal_part,
    text_part,
)
from openfall.router_core.jobs.stream_pieces import RawEvent, RefusalPiece, SignaturePiece, TextPiece, ThinkingPiece
from openfall.router_core.jobs.synthetic_reply import synthetic_reply
from tests.native_responses import CALL, MESSAGE, REASONING, REFUSAL, SEARCH, native
from tests.router_core.decisions import CATALOG

SCHEMA = {"type": "object"}
REQUEST: dict[str, Any] = {
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "wave"}]},
        {"type": "function_call", "name": "look", "arguments": '{"at":"dusk"}'},
        {"type": "custom_tool_call", "name": "patch", "input": "x"},
        {"type": "function_call_output", "output": "a lantern"},
        {"type": "reasoning", "summary": []},
        "no item",
    ],
    "tools": [{"type": "function", "name": "look", "parameters": SCHEMA}, {"type": "custom", "name": "patch"}],
    "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "max_output_tokens": 7,
}


def test_a_request_shows_its_texts_tools_schema_and_limit() -> None:
    assert request_body.last_user_text(REQUEST) == "wave"
    assert {"Be brief.", "wave", "a lantern", "look"} <= set(request_body.all_text(REQUEST))
    assert request_body.has_tools(REQUEST)
    assert request_body.wants_schema(REQUEST)
    assert request_body.get_schema(REQUEST) == SCHEMA
    assert request_body.max_tokens(REQUEST, "responses") == 7
    assert request_body.tool_schemas(REQUEST) == {"look": SCHEMA, "patch": {"type": "string"}}


def test_a_tool_of_the_provider_alone_needs_no_model_with_tools() -> None:
    assert not request_body.has_tools({"input": "x", "tools": [{"type": "web_search"}]})
    assert input_messages({"input": 3}) == []


def test_an_answer_shows_its_text_its_refusal_and_its_calls() -> None:
    custom = {"type": "custom_tool_call", "name": "patch", "input": "x"}
    assert request_body.answer_text(native(REASONING, MESSAGE)) == "A lantern festival."
    assert request_body.answer_text(native(REFUSAL)) == "I won't."
    assert request_body.answer_text(native(REASONING)) == "Dusk, then."
    assert list(request_body.calls_of(native(CALL, custom))) == [("look", {"at": "dusk"}), ("patch", "x")]


def test_the_pieces_of_a_whole_response_are_those_of_its_stream() -> None:
    thought = {"id": "rs_2", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}
    odd = {"id": "msg_2", "type": "message", "content": [{"type": "output_audio"}]}
    pieces = pieces_of_answer(native(REASONING, SEARCH, MESSAGE, CALL, REFUSAL, thought, odd), "responses")
    typed = [piece for piece in pieces if not isinstance(piece, RawEvent)]
    assert typed[:3] == [
        ThinkingPiece(0, "Dusk, then."),
        SignaturePiece(0, "gAAAA"),
        TextPiece(0, "A lantern festival."),
    ]
    assert typed[-2:] == [RefusalPiece(0, "I won't."), ThinkingPiece(0, "hm")]


def test_a_text_without_a_model_is_a_response_that_the_sdk_reads() -> None:
    job = CompletionJob(id="job-00000001", producer="p", chain=("m",), body={"input": "x"}, dialect="responses")
    body = synthetic_reply(job, "Not now.", 1.0).body
    assert Response.model_validate(body).output_text == "Not now."
    assert is_own(body["output"][0])
    assert not accepts_refusals(job, CATALOG)


def test_items_of_ours_have_an_id_that_no_provider_has() -> None:
    name = item_id("fc", 2, "job-00001")
    assert is_own({"id": name})
    assert call_item(name, "", "look", "{}")["call_id"] == "call_openfall_job-00001_2"
    assert call_item(name, "call_7", "look", "{}")["call_id"] == "call_7"
    assert reasoning_item(item_id("rs", 0), "")["content"] == []
    assert reasoning_item(item_id("rs", 0), "hm")["content"] == [{"type": "reasoning_text", "text": "hm"}]
    parts = [text_part("a lantern"), refusal_part("no")]
    assert [part["type"] for part in message_item("msg", parts)["content"]] == ["output_text", "refusal"]
