"""A gateway that passes on the answer of another protocol as it is: the caller gets it in its own dialect."""

from __future__ import annotations

import json
from typing import Any, get_args

import orjson
import pytest

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.request_body import answer_text
from openfall.router_core.jobs.stream_pieces import Piece, ThinkingPiece, text_of
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.openai_answer import CompletionAssembler, parse_completion
from openfall.workers.backends.registry import open_backend
from tests.faults import Script, answer, events, fault_server, head, lines, named_events, raw
from tests.workers.backends.protocol_clients import run

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
TEXT = "A lantern festival."
OPENAI = {"choices": [{"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]}
ANTHROPIC = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": TEXT}],
             "stop_reason": "end_turn", "usage": {"input_tokens": 7, "output_tokens": 5}}  # fmt: skip
OLLAMA = {"message": {"role": "assistant", "content": TEXT}, "done": True, "done_reason": "stop"}
GENERATE = {"response": TEXT, "done": True, "done_reason": "stop"}


def gemini(*parts: object, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}]}


GEMINI = gemini({"text": "A lantern "}, {"text": "festival."}, finishReason="STOP")
CHUNKS = [
    {"choices": [{"delta": {"content": "A lantern "}, "finish_reason": None}]},
    {"choices": [{"delta": {"content": "festival."}, "finish_reason": "stop"}]},
]
LINES = [
    {"message": {"role": "assistant", "content": "A lantern "}, "done": False},
    {"message": {"role": "assistant", "content": "festival."}, "done": False},
    {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "eval_count": 5},
]
PARTS = [
    gemini({"text": "A lantern "}),
    gemini({"text": "festival."}, finishReason="STOP") | {"usageMetadata": {"candidatesTokenCount": 5}},
]
EVENTS: list[dict[str, object]] = [
    {"type": "ping"},
    {"type": "message_start", "message": ANTHROPIC | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "A lantern "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "festival."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


def body_of(content_type: str, data: bytes) -> Script:
    return raw(head(200, len(data), {"Content-Type": content_type}) + data)


def joined(separator: bytes, *documents: object) -> bytes:
    return separator.join(map(orjson.dumps, documents)) + separator


FORMS: dict[str, Script] = {
    "a chat completion": answer(OPENAI),
    "a message": answer(ANTHROPIC),
    "a line of Ollama's chat": answer(OLLAMA),
    "an answer of Ollama's generate": answer(GENERATE),
    "an answer of Gemini": answer(GEMINI),
    "an answer of Code Assist": answer({"response": GEMINI}),
    "a list of one answer of Gemini": answer([GEMINI]),
    "chunks": events(*CHUNKS),
    "chunks as lines": lines(*CHUNKS),
    "events of a message": named_events(*EVENTS),
    "lines of Ollama": lines(*LINES),
    "lines of Ollama with CRLF": body_of("application/x-ndjson", joined(b"\r\n", *LINES)),
    "lines of Ollama as plain text": body_of("text/plain; charset=utf-8", joined(b"\n", *LINES)),
    "lines of Ollama with empty ones": body_of("application/jsonl", joined(b"\n\n", *LINES)),
    "lines of Ollama behind a mark": body_of("application/json", b"\xef\xbb\xbf" + joined(b"\n", *LINES)),
    "lines of Ollama in one list": answer(LINES),
    "lines of Ollama as events": events(*LINES, done=False),
    "lines of Ollama as events with an end": events(*LINES),
    "lines of Ollama as events with CRLF": events(*LINES, newline=b"\r\n"),
    "lines of Ollama as events named lines": body_of("application/x-ndjson", b"data: " + joined(b"\n\ndata: ", *LINES)),
    "parts of Gemini": events(*PARTS, done=False),
    "parts of Gemini in one list": answer(PARTS),
    "parts of Gemini in a list of several lines": body_of("application/json", json.dumps(PARTS, indent=2).encode()),
}


async def call(protocol: Protocol, script: Script, pieces: list[Piece] | None, **body: Any) -> Outcome:
    async with fault_server(script) as server:
        client = open_backend(Backend(url=server.url, pool="cloud", protocol=protocol))
        request = Request(
            body={"messages": [{"role": "user", "content": "Name a festival."}], **body},
            upstream="m", timeout=20, dialect="openai", max_tokens=64,
        )  # fmt: skip
        try:
            return await client.complete(request, None if pieces is None else pieces.extend)
        finally:
            await client.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_of_any_protocol_is_read_at_an_endpoint_of_any_other(protocol: Protocol, form: str) -> None:
    outcome = run(call(protocol, FORMS[form], None))
    assert isinstance(outcome, Completion), outcome
    assert (outcome.text, outcome.finish_reason) == (TEXT, "stop")
    assert answer_text(outcome.body) == TEXT
    pieces: list[Piece] = []
    streamed = run(call(protocol, FORMS[form], pieces))
    assert isinstance(streamed, Completion), streamed
    assert (streamed.text, text_of(pieces)) == (TEXT, TEXT)


CALLS = [
    {"content": {"parts": [
        {"text": "Look.", "thought": True},
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"},
        {"functionCall": {"name": "f", "args": {}, "id": "given"}},
        {"functionCall": "broken"}, {"inlineData": {}}, "broken",
    ]}, "finishReason": "STOP"},
    "broken",
]  # fmt: skip


def test_the_calls_and_thoughts_of_an_answer_of_gemini_are_read_whole_and_streamed() -> None:
    document = {"candidates": CALLS, "responseId": "r", "modelVersion": "g", "usageMetadata": {"promptTokenCount": 7}}
    assembler = CompletionAssembler()
    pieces = assembler.add(orjson.dumps(document))
    for outcome in (parse_completion(orjson.dumps(document), {}), assembler.outcome()):
        assert isinstance(outcome, Completion), outcome
        assert (outcome.finish_reason, outcome.usage.input_tokens) == ("tool_calls", 7)
        assert (outcome.body["id"], outcome.body["model"]) == ("r", "g")
        message = outcome.body["choices"][0]["message"]
        assert message["reasoning_content"] == "Look."
        first, second = message["tool_calls"]
        assert (first["function"], first["extra_content"]) == (
            {"name": "f", "arguments": '{"a":1}'}, {"google": {"thought_signature": "s"}},
        )  # fmt: skip
        assert (second["function"], second["id"]) == ({"name": "f", "arguments": "{}"}, "given")
    assert ThinkingPiece(0, "Look.") in pieces


@pytest.mark.parametrize(
    "document",
    [
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7}},
        {"promptFeedback": {"blockReason": "SAFETY"}, "candidates": []},
        {"promptFeedback": {"blockReason": "OTHER"}},
        {"promptFeedback": {"blockReason": "JAILBREAK"}},
        {"candidates": [{"finishReason": "SAFETY", "index": 0}]},
        {"response": {"candidates": [{"content": {}, "finishReason": "RECITATION"}]}},
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_of_gemini_that_its_filter_stopped_is_one(protocol: Protocol, document: object) -> None:
    for script in (answer(document), events(document, done=False)):
        outcome = run(call(protocol, script, None))
        assert isinstance(outcome, Failure), outcome
        assert outcome.error_class is ErrorClass.CONTENT_FILTER


@pytest.mark.parametrize(
    "document",
    [
        {"candidates": [], "promptFeedback": {}},
        {"candidates": None},
        {"type": "message", "content": None},
        {"message": "done", "done": True},
        {"object": "response", "output": []},
        {"response": "ok"},
        [],
        [1, 2],
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_document_of_no_protocol_is_malformed_at_each(protocol: Protocol, document: object) -> None:
    outcome = run(call(protocol, answer(document), None))
    assert isinstance(outcome, Failure), outcome
    assert outcome.error_class is ErrorClass.MALFORMED


def test_the_call_of_a_tool_keeps_the_name_that_its_caller_gave_it() -> None:
    name = "files.read"
    tool = {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    reply = ANTHROPIC | {
        "content": [{"type": "tool_use", "id": "t", "name": name, "input": {}}],
        "stop_reason": "tool_use",
    }
    outcome = run(call("ollama", answer(reply), None, tools=[tool]))
    assert isinstance(outcome, Completion), outcome
    assert outcome.body["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": name, "arguments": "{}"}
