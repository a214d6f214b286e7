"""Streams cut anywhere: the events are the same, and no event is too odd to be taken."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_pieces import Piece, pack_events, read_pieces, text_of
from openfall.workers.backends.anthropic_answer import MessageAssembler
from openfall.workers.backends.framing import Framing, NdjsonFraming, SseFraming
from openfall.workers.backends.ollama_answer import ChatAssembler
from openfall.workers.backends.openai_answer import CompletionAssembler
from openfall.workers.backends.stream_assembly import StreamAssembler
from tests.workers.backends.corruption import corruptions

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def framed(framing: Framing, data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    chunks = [data[start:end] for start, end in pairwise(places)]
    return [event for chunk in chunks for event in framing.feed(chunk)] + list(framing.end())


@given(st.lists(TEXT), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 10**6)), st.booleans())
def test_events_are_the_same_wherever_they_are_cut(
    texts: list[str], newline: bytes, cuts: list[int], ended: bool
) -> None:
    frames = [b": a comment" + newline + b"event: x" + newline + b"data: " + text.encode() for text in texts]
    data = (2 * newline).join(frames) + (2 * newline if ended else b"")
    assert framed(SseFraming(), data, cuts) == [text.encode() for text in texts]


@given(st.lists(TEXT), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 10**6)))
def test_a_carriage_return_within_a_text_ends_no_line_wherever_it_is_cut(
    texts: list[str], newline: bytes, cuts: list[int]
) -> None:
    documents = [{"text": f"a\rb{text}\rdatum\r-{text}"} for text in texts if "\\" not in text]
    raw = [orjson.dumps(document).replace(rb"\r", b"\r") for document in documents]
    data = b"".join(b"data: " + document + 2 * newline for document in raw)
    assert [orjson.loads(event) for event in framed(SseFraming(), data, cuts)] == documents


def test_an_event_that_ends_with_two_carriage_returns_is_not_kept_back() -> None:
    assert list(SseFraming().feed(b"data: 1\r\rdata: 2\r\r")) == [b"1", b"2"]
    assert list(SseFraming().feed(b"data: 1\n\n")) == [b"1"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param('{"message": "too busy", "code": 503}', {"message": "too busy", "code": 503}, id="an object"),
        pytest.param("too busy", "too busy", id="words"),
        pytest.param('"too busy"', "too busy", id="a text"),
        pytest.param('{"error": {"message": "too busy"}}', {"message": "too busy"}, id="in the form of OpenAI"),
    ],
)
def test_an_event_that_is_named_an_error_is_one_whatever_its_data(data: str, error: Any) -> None:
    stream = f'event: error\ndata: {data}\n\nevent: more\ndata: {{"a": 1}}\n\n'.encode()
    assert [orjson.loads(event) for event in SseFraming().feed(stream)] == [{"error": error}, {"a": 1}]
    named = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'
    assert list(SseFraming().feed(named)) == [b'{"type":"error","error":{"type":"overloaded_error"}}']


def test_an_event_that_is_named_after_an_exception_is_an_error() -> None:
    stream = b'event: throttlingException\ndata: {"message":"too busy"}\n\nevent: exceptions\ndata: {}\n\n'
    assert list(SseFraming().feed(stream)) == [b'{"error":{"message":"too busy"}}', b"{}"]


@given(st.lists(TEXT), st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.lists(st.integers(0, 10**6)), st.booleans())
def test_lines_are_the_same_wherever_they_are_cut(
    texts: list[str], newline: bytes, cuts: list[int], ended: bool
) -> None:
    lines = [orjson.dumps(text) for text in texts]
    assert framed(NdjsonFraming(), newline.join(lines) + (newline if ended else b""), cuts) == lines


CITED = {"type": "citations_delta", "citation": {"cited_text": "a"}}
MESSAGE: list[Any] = [
    {"type": "message_start", "message": {"content": [], "stop_reason": None, "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "citations": None}},
    *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in "ab"),
    *({"type": "content_block_delta", "index": 0, "delta": CITED} for _ in "ab"),
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
]
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
DELTA = {"role": "assistant", "content": "a", "reasoning_content": "a", "tool_calls": [CALL]}
MORE = {"content": "b", "reasoning_content": "b", "tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}
CHUNKS: list[Any] = [
    {"id": "x", "choices": [{"index": 0, "delta": DELTA, "finish_reason": None, "logprobs": {"content": [1]}}]},
    {"id": "x", "choices": [{"index": 0, "delta": MORE, "finish_reason": None, "logprobs": {"content": [2]}}]},
    {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1}},
]
LINES: list[Any] = [
    {"message": {"role": "assistant", "content": "a", "thinking": "b", "images": ["c"]}, "done": False},
    {"message": {"content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]}},
    {"message": {"content": "d"}, "done": True, "done_reason": "stop", "prompt_eval_count": 1, "logprobs": [1]},
]


@pytest.mark.parametrize(
    ("assembly", "good"), [(MessageAssembler, MESSAGE), (CompletionAssembler, CHUNKS), (ChatAssembler, LINES)]
)
def test_any_event_can_be_added(assembly: type[StreamAssembler], good: list[Any]) -> None:
    assert isinstance(put_together(assembly(), good), Completion)
    for result in corruptions(good):
        if isinstance(result, list):
            assert isinstance(put_together(assembly(), result), Completion | Failure)


def put_together(answer: StreamAssembler, events: list[Any]) -> Outcome:
    for event in events:
        if not answer.ended:
            read_pieces_back(answer.add(json.dumps(event).encode()))
    return answer.outcome()


def read_pieces_back(pieces: list[Piece]) -> None:
    """Any piece crosses Redis."""
    unpacked = [piece for event in pack_events(pieces) for piece in read_pieces(orjson.loads(event))]
    assert text_of(unpacked) == text_of(pieces)


@pytest.mark.parametrize("assembly", [MessageAssembler, CompletionAssembler])
@given(st.binary(max_size=30))
def test_any_bytes_can_be_framed(assembly: type[StreamAssembler], event: bytes) -> None:
    answer = assembly()
    answer.add(event)
    assert isinstance(answer.outcome(), Failure)
