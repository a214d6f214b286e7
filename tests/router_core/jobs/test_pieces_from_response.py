"""The pieces of a whole response, in each dialect."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.stream_pieces import (
    RawEvent,
    RefusalPiece,
    SignaturePiece,
    TextPiece,
    ThinkingPiece,
    ToolArguments,
    ToolStart,
)

EMPTY = {"function": {"arguments": ""}}


def test_a_completion_has_its_choices_with_thinking_text_refusal_and_calls() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "bow", "arguments": '{"deep":true}'}}
    message = {"role": "assistant", "content": "Hai", "reasoning": "hm", "refusal": "no", "tool_calls": [call]}
    body = {"choices": [{"index": 0, "message": message}, {"message": {"content": [{"type": "text", "text": "2"}]}}]}
    assert pieces_of_answer(body, "openai") == (
        ThinkingPiece(0, "hm"),
        TextPiece(0, "Hai"),
        RefusalPiece(0, "no"),
        ToolStart(0, 0, "c1", "bow"),
        ToolArguments(0, 0, '{"deep":true}'),
        TextPiece(1, "2"),
    )


def test_what_no_typed_piece_can_say_of_a_choice_is_one_event() -> None:
    custom = {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    message = {"content": "Hai", "annotations": [{"type": "url_citation"}], "audio": None, "tool_calls": [custom]}
    body = {"choices": [{"index": 0, "message": message, "logprobs": {"content": [1]}}]}
    delta = {"annotations": [{"type": "url_citation"}], "tool_calls": [{"index": 0, **custom}]}
    event = {"choices": [{"index": 0, "delta": delta, "logprobs": {"content": [1]}}]}
    assert pieces_of_answer(body, "openai") == (RawEvent(event), TextPiece(0, "Hai"))


def test_a_field_beside_the_function_of_a_call_follows_the_call() -> None:
    more = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    call = {"id": "c1", "type": "function", "function": {"name": "bow", "arguments": "{}"}, **more}
    event = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **more}]}}]}
    assert pieces_of_answer({"choices": [{"message": {"tool_calls": [call]}}]}, "openai") == (
        ToolStart(0, 0, "c1", "bow"),
        ToolArguments(0, 0, "{}"),
        RawEvent(event),
    )


def test_a_message_has_its_blocks_with_signatures_and_the_borders_between_texts() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "thinking", "thinking": "", "signature": "omitted"},
        {"type": "thinking", "thinking": "so", "signature": ""},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Hai"},
        {"type": "text", "text": "cited", "citations": [{"cited_text": "a"}]},
        {"type": "tool_use", "id": "t1", "name": "bow", "input": {"deep": True}},
    ]
    begun = {"type": "content_block_start", "index": 5, "content_block": {**blocks[5], "text": ""}}
    cited = {"type": "citations_delta", "citation": {"cited_text": "a"}}
    assert pieces_of_answer({"content": blocks}, "anthropic") == (
        ThinkingPiece(0, "hm"),
        SignaturePiece(0, "sig"),
        SignaturePiece(0, "omitted"),
        ThinkingPiece(0, "so"),
        RawEvent({"type": "content_block_start", "index": 3, "content_block": blocks[3]}),
        TextPiece(0, "Hai"),
        RawEvent(begun),
        TextPiece(0, "cited"),
        RawEvent({"type": "content_block_delta", "index": 5, "delta": cited}),
        ToolStart(0, 0, "t1", "bow"),
        ToolArguments(0, 0, '{"deep": true}'),
    )


def test_a_chat_of_ollama_has_its_thinking_text_and_calls() -> None:
    calls = [{"function": {"name": "bow", "arguments": {"deep": True}}}, {"function": {"name": "sit"}}]
    message = {"role": "assistant", "content": "Hai", "thinking": "hm", "tool_calls": calls}
    assert pieces_of_answer({"message": message, "done": True}, "ollama") == (
        ThinkingPiece(0, "hm"),
        TextPiece(0, "Hai"),
        ToolStart(0, 0, "", "bow"),
        ToolArguments(0, 0, '{"deep": true}'),
        ToolStart(0, 1, "", "sit"),
        ToolArguments(0, 1, "{}"),
    )
    more = {"message": {"content": "", "images": ["abc"]}, "logprobs": [1]}
    assert pieces_of_answer(more, "ollama") == (RawEvent({"message": {"images": ["abc"]}, "logprobs": [1]}),)


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        ({}, "openai"),
        ({"choices": ["x", {"message": {"tool_calls": [{"function": 1}, 2]}}]}, "openai"),
        ({"choices": [{"index": "x", "message": {"content": 3, "tool_calls": [EMPTY]}}]}, "openai"),
        ({"content": [{"text": "x"}, 3]}, "anthropic"),
        ({"message": 7}, "ollama"),
    ],
)  # fmt: skip
def test_a_part_without_the_expected_shape_is_no_error(body: dict[str, Any], dialect: Any) -> None:
    assert isinstance(pieces_of_answer(body, dialect), tuple)
