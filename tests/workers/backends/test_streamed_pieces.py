"""The pieces of streams, from real connections: the official clients put the same answer together as openfall does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.stream_pieces import (
    Piece,
    RawEvent,
    RefusalPiece,
    SignaturePiece,
    TextPiece,
    ThinkingPiece,
    ToolArguments,
    ToolStart,
    UsagePiece,
    gather,
    pack_events,
    read_pieces,
)
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from tests.faults import Script, answer, events, fault_server, head, piece, raw
from tests.workers.backends.anthropic_calls import END, MESSAGE, block, sse, start, stop
from tests.workers.backends.reassembly import completion_of, content_of
from tests.workers.backends.translate.official import completion, message

USAGE = {"prompt_tokens": 41, "completion_tokens": 5, "total_tokens": 46}
USAGE_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": USAGE}


def streamed(
    protocol: Protocol, dialect: Dialect, script: Script, messages: Sequence[dict[str, Any]] = ()
) -> tuple[Completion, list[Piece]]:
    """The answer of one streamed call, and its pieces as a reader of the job's events gets them."""

    async def work() -> tuple[Completion, list[Piece]]:
        received: list[Piece] = []
        async with fault_server(script) as server:
            backend = open_backend(Backend(url=server.url, pool="gpu", protocol=protocol))
            body = {"messages": [*messages, {"role": "user", "content": "Hi"}]}
            request = Request(body=body, upstream="theirs", timeout=60, dialect=dialect)
            try:
                outcome = await backend.complete(request, received.extend)
            finally:
                await backend.close()
        assert isinstance(outcome, Completion)
        carried = [part for event in pack_events(received) for part in read_pieces(orjson.loads(event))]
        return outcome, carried

    return asyncio.run(asyncio.wait_for(work(), 60))


def function(index: int, arguments: str = "", **more: str) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    kind = {"type": "function"} if "id" in more else {}
    return {"index": index, **more, **kind, "function": {**name, "arguments": arguments}}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["get_", "weather"], id="in parts"),
        pytest.param(["get_weather", "get_weather"], id="repeated"),
        pytest.param(["get_", "get_weather"], id="growing"),
        pytest.param(["get_weather"], id="whole"),
    ],
)
@pytest.mark.parametrize("arguments", ['{"at": "sky"}', ""])
def test_the_name_of_a_tool_is_whole_however_it_arrives(names: list[str], arguments: str) -> None:
    first, *rest = names
    later = [piece(tool_calls=[{"index": 0, "function": {"name": name}}]) for name in rest]
    last = [piece(tool_calls=[function(0, arguments)])] if arguments else []
    outcome, pieces = streamed("openai", "openai", events(
        piece(tool_calls=[function(0, id="c1", name=first)]), *later, *last, piece(finish="tool_calls"), USAGE_CHUNK,
    ))  # fmt: skip
    call = outcome.body["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "get_weather"
    assert pieces[0] == ToolStart(0, 0, "c1", "get_weather")


def test_tool_calls_and_reasoning_of_a_completion_arrive_in_pieces() -> None:
    outcome, pieces = streamed("openai", "openai", events(
        piece(role="assistant", content=""),
        piece(reasoning_content="Which "), piece(reasoning_content="star?"),
        piece(content="Wait."),
        piece(tool_calls=[function(0, id="c1", name="look")]), piece(tool_calls=[function(0, '{"at":')]),
        piece(tool_calls=[function(0, '"sky"}'), function(1, "{}", id="c2", name="bow")]),
        piece(finish="tool_calls"), USAGE_CHUNK,
    ))  # fmt: skip
    assert pieces == [
        ThinkingPiece(0, "Which star?"),
        TextPiece(0, "Wait."),
        ToolStart(0, 0, "c1", "look"),
        ToolArguments(0, 0, '{"at":"sky"}'),
        ToolStart(0, 1, "c2", "bow"),
        ToolArguments(0, 1, "{}"),
        UsagePiece(41, 5),
    ]
    theirs = completion_of(pieces, "tool_calls")["choices"][0]["message"]
    ours = completion(outcome.body).choices[0].message.to_dict()
    assert theirs["content"] == ours["content"]
    calls = [[call["id"], call["function"]["name"], call["function"]["arguments"]] for call in theirs["tool_calls"]]
    assert calls == [["c1", "look", '{"at":"sky"}'], ["c2", "bow", "{}"]]
    assert [call["id"] for call in ours["tool_calls"]] == ["c1", "c2"]


def test_a_tool_call_whose_name_arrives_late_begins_with_its_name() -> None:
    _, pieces = streamed("openai", "openai", events(
        piece(tool_calls=[{"index": 0, "id": "c1", "function": {"arguments": "{"}}]),
        piece(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": "}"}}]), piece(finish="tool_calls"),
    ))  # fmt: skip
    assert pieces == [ToolStart(0, 0, "c1", "look"), ToolArguments(0, 0, "{}")]


def test_several_choices_and_refusals_arrive_apart() -> None:
    def chunk(index: int, finish: str | None = None, **delta: str) -> dict[str, Any]:
        return piece() | {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}

    outcome, pieces = streamed("openai", "openai", events(
        chunk(0, content="Lan"), chunk(1, refusal="I "), chunk(0, content="tern"), chunk(1, refusal="won't."),
        chunk(0, "stop"), chunk(1, "stop"),
    ))  # fmt: skip
    assert pieces == [TextPiece(0, "Lan"), RefusalPiece(1, "I "), TextPiece(0, "tern"), RefusalPiece(1, "won't.")]
    theirs = [choice["message"] for choice in completion_of(pieces)["choices"]]
    ours = [choice.message for choice in completion(outcome.body).choices]
    assert [each.get("content") for each in theirs] == [each.content for each in ours] == ["Lantern", None]
    assert [each.get("refusal") for each in theirs] == [each.refusal for each in ours] == [None, "I won't."]


def test_what_typed_pieces_cannot_say_of_a_chunk_arrives_as_the_provider_wrote_it() -> None:
    logprobs = {"content": [{"token": "Hai", "bytes": None, "logprob": -0.1, "top_logprobs": []}], "refusal": None}
    with_logprobs = piece(content="Hai")
    with_logprobs["choices"][0]["logprobs"] = logprobs  # type: ignore[index]
    details = piece(reasoning="hm", reasoning_details=[{"type": "reasoning.encrypted", "data": "EqQB", "index": 0}])
    outcome, pieces = streamed("openai", "openai", events(details, with_logprobs, piece(finish="stop")))
    assert pieces == [
        RawEvent({"choices": details["choices"]}, 1), ThinkingPiece(0, "hm"),
        RawEvent({"choices": with_logprobs["choices"]}, 1), TextPiece(0, "Hai"),
    ]  # fmt: skip
    theirs, ours = completion_of(pieces)["choices"][0], outcome.body["choices"][0]
    assert (
        theirs["message"]["reasoning_details"][0]["data"] == ours["message"]["reasoning_details"][0]["data"] == "EqQB"
    )
    assert theirs["logprobs"]["content"] == ours["logprobs"]["content"]


CITED = {"type": "char_location", "cited_text": "stars", "document_index": 0, "document_title": None,
         "start_char_index": 0, "end_char_index": 5, "file_id": None}  # fmt: skip
AGENT = [
    start(),
    *block(
        0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Look "},
        {"type": "thinking_delta", "thinking": "up."}, {"type": "signature_delta", "signature": "EqQB=="},
    ),
    *block(1, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "Emp"}),
    *block(2, {"type": "redacted_thinking", "data": "Emw"}),
    *block(3, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Stars, "}),
    *block(
        4, {"type": "text", "text": "", "citations": []}, {"type": "citations_delta", "citation": CITED},
        {"type": "text_delta", "text": "they "}, {"type": "text_delta", "text": "say."},
    ),
    *block(
        5, {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query":"stars"}'},
    ),
    *block(
        6, {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
        *({"type": "input_json_delta", "partial_json": part} for part in ("", '{"at":', '"sky"}')),
    ),
    stop("tool_use"),
    END,
]  # fmt: skip


def test_an_agents_thinking_with_signatures_and_every_block_survive_in_its_own_dialect() -> None:
    outcome, pieces = streamed("anthropic", "anthropic", sse(*AGENT))
    ours = message(outcome.body).to_dict()["content"]
    theirs = content_of(pieces)
    assert theirs == ours
    assert [each.text for each in pieces if isinstance(each, SignaturePiece)] == ["EqQB==", "Emp"]


def test_typed_pieces_alone_say_text_thinking_and_tools_to_a_reader_of_any_dialect() -> None:
    _, pieces = streamed("anthropic", "openai", sse(*AGENT))
    assert gather(pieces) == [
        UsagePiece(41, 1, 18, 20),
        ThinkingPiece(0, "Look up."),
        SignaturePiece(0, "EqQB=="),
        SignaturePiece(0, "Emp"),
        TextPiece(0, "Stars, they say."),
        ToolStart(0, 0, "toolu_1", "look"),
        ToolArguments(0, 0, '{"at":"sky"}'),
        UsagePiece(41, 5, 18, 20),
    ]


def test_a_tool_call_that_arrives_whole_in_its_block_has_its_input() -> None:
    whole = block(0, {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "sky"}})
    _, pieces = streamed("anthropic", "anthropic", sse(start(), *whole, stop("tool_use"), END))
    assert pieces[1:-1] == [ToolStart(0, 0, "t", "look"), ToolArguments(0, 0, '{"at":"sky"}')]


EARLIER = [
    {"role": "user", "content": "Bow"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "bow", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "done"},
]  # fmt: skip


def test_a_streamed_tool_call_has_the_id_that_the_translated_answer_has() -> None:
    call = block(0, {"type": "tool_use", "id": "c1", "name": "bow", "input": {}})
    outcome, pieces = streamed("anthropic", "openai", sse(start(), *call, stop("tool_use"), END), EARLIER)
    (began,) = [each for each in pieces if isinstance(each, ToolStart)]
    assert began.id == completion(outcome.body).choices[0].message.tool_calls[0].id != "c1"  # type: ignore[index]


def test_an_anthropic_caller_gets_ids_that_its_client_takes() -> None:
    chunk = piece(tool_calls=[function(0, "{}", id="call:0/x", name="bow")])
    outcome, pieces = streamed("openai", "anthropic", events(chunk, piece(finish="tool_calls")))
    (theirs,) = content_of(pieces)
    assert theirs == outcome.body["content"][0]


def test_the_lines_of_an_ollama_have_thinking_text_and_numbered_calls() -> None:
    call = {"function": {"name": "bow", "arguments": {"deep": True}}}
    lines = [
        {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {"message": {"role": "assistant", "content": "Hai"}, "done": False},
        {"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "done": False},
        {"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "logprobs": [1], "done": False},
        {"message": {"role": "assistant", "content": ""}, "done": True, "prompt_eval_count": 3, "eval_count": 2},
    ]
    data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    outcome, pieces = streamed(
        "ollama", "ollama", raw(head(200, None, {"Content-Type": "application/x-ndjson"}) + data)
    )
    assert pieces == [
        ThinkingPiece(0, "hm"), TextPiece(0, "Hai"),
        ToolStart(0, 0, "", "bow"), ToolArguments(0, 0, '{"deep": true}'),
        RawEvent(lines[3], 2), ToolStart(0, 1, "", "bow"), ToolArguments(0, 1, '{"deep": true}'),
        UsagePiece(3, 2),
    ]  # fmt: skip
    assert len(outcome.body["message"]["tool_calls"]) == 2


@pytest.mark.parametrize(("protocol", "whole"), [("openai", None), ("anthropic", MESSAGE)])
def test_an_answer_in_one_piece_has_the_pieces_of_its_body(protocol: Protocol, whole: dict[str, Any] | None) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "bow", "arguments": "{}"}}]
    given = {"role": "assistant", "content": "Hai", "tool_calls": calls}
    body = whole or {"choices": [{"index": 0, "message": given, "finish_reason": "tool_calls"}], "usage": USAGE}
    dialect: Dialect = "openai" if protocol == "openai" else "anthropic"
    outcome, pieces = streamed(protocol, dialect, answer(body))
    assert tuple(pieces[:-1]) == pieces_of_answer(outcome.body, dialect)
    assert isinstance(pieces[-1], UsagePiece)
