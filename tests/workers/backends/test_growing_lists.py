"""Lists that arrive in pieces: reasoning details, images, citations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.stream_pieces import RawEvent
from openfall.workers.backends.anthropic_answer import MessageAssembler
from openfall.workers.backends.ollama_answer import ChatAssembler
from openfall.workers.backends.openai_answer import CompletionAssembler
from openfall.workers.backends.parsing import grow_list
from openfall.workers.backends.stream_assembly import StreamAssembler

NUMBERS = [{"n": 1}, {"n": 2}, {"n": 3}]


def of_openai(details: list[Any]) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": "a", "reasoning_details": details}}]}


def of_ollama(images: list[Any]) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "a", "images": images}, "done": False}


def of_anthropic(citations: list[Any]) -> dict[str, Any]:
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "citations_delta", "citation": citations[0]},
    }


Stream = tuple[StreamAssembler, list[Any], Callable[[list[Any]], dict[str, Any]], list[Any]]
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
STREAMS: dict[str, Stream] = {
    "openai": (CompletionAssembler(), [], of_openai, [END]),
    "ollama": (ChatAssembler(), [], of_ollama, [{"message": {"content": ""}, "done": True, "done_reason": "stop"}]),
    "anthropic": (
        MessageAssembler(),
        [
            {"type": "message_start", "message": {"role": "assistant", "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "citations": []}},
        ],
        of_anthropic,
        [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", STREAMS)
def test_a_list_in_pieces_is_put_together_and_no_event_that_was_passed_on_changes(protocol: str) -> None:
    assembler, begin, piece, end = STREAMS[protocol]
    sent = [part for event in begin for part in assembler.add(orjson.dumps(event))]
    sent += [part for number in NUMBERS for part in assembler.add(orjson.dumps(piece([number])))]
    raw = [part.event for part in sent if isinstance(part, RawEvent)]
    before = orjson.dumps(raw)
    outcome = [assembler.add(orjson.dumps(event)) for event in end] and assembler.outcome()
    assert isinstance(outcome, Completion)
    assert orjson.dumps(NUMBERS) in orjson.dumps(outcome.body)
    assert orjson.dumps(raw) == before
    assert before.count(b'"n":') == len(NUMBERS), "each event has its own piece alone"


def test_a_list_grows_in_place_and_leaves_its_first_piece_alone() -> None:
    first = [1]
    grown = grow_list(None, first)
    assert grow_list(grown, [2]) is grown
    assert (grown, first) == ([1, 2], [1])
    assert grow_list([0], [1]) == [0, 1]
    assert grow_list("text", [1]) == [1]
