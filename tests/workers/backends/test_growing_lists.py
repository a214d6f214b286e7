"""Lists that arrive in pieces: reasoning details, images, citations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.jobs.stream_pieces import RawEvent
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.answer_bounds import AnswerMemory, AnswerTooLarge, kept_memory
from openfall.workers.backends.answer_formats import FORMATS
from openfall.workers.backends.anthropic_answer import MessageAssembler
from openfall.workers.backends.event_adder import EventAdder
from openfall.workers.backends.grown_list import grow_list
from openfall.workers.backends.ollama_answer import ChatAssembler
from openfall.workers.backends.openai_answer import CompletionAssembler
from openfall.workers.backends.response_reader import AnswerReader
from openfall.workers.backends.stall_watch import CallWatch
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


def test_each_part_of_a_growing_list_is_measured_once() -> None:
    def part(number: int) -> dict[str, Any]:
        return {"token": str(number), "top_logprobs": [{"token": "x", "logprob": number / 7}]}

    grown = grow_list(None, [part(number) for number in range(100)])
    first = list(kept_memory(grown))
    assert sum(first) >= sum(kept_memory([*grown]))
    assert sum(kept_memory(grown)) == sum(first)
    assert len(list(kept_memory(grown))) == 1
    grow_list(grown, [part(100)])
    assert sum(first) < sum(kept_memory(grown)) < 1.05 * sum(first)


SHORT_EVENTS: dict[str, tuple[Dialect, bytes]] = {
    "calls by index": ("openai", b'{"tool_calls":[{"index":@,"id":"c@","function":{"name":"f"}}]}'),
    "calls by id": ("openai", b'{"tool_calls":[{"id":"c@","function":{"name":"f"}}]}'),
    "fields": ("openai", b'{"content":"a",%b}' % b",".join(b'"%d-@":{}' % n for n in range(20))),
    "empty objects": ("openai", b'{"images":[{}%b]}' % (b",{}" * 60)),
    "blocks": ("anthropic", b'"index":@,"content_block":{"type":"tool_use","name":"f","input":{}}'),
}
"""The delta of an event, or its block. `@` is the number of the event."""
WRAPPINGS = {"openai": b'{"choices":[{"delta":%b}]}', "anthropic": b'{"type":"content_block_start",%b}'}


@pytest.mark.parametrize("kind", SHORT_EVENTS)
def test_many_short_events_with_structure_are_an_answer_that_is_too_large(kind: str) -> None:
    dialect, template = SHORT_EVENTS[kind]

    async def work() -> bool:
        reader = AnswerReader(FORMATS[dialect], CallWatch(600.0))
        async with reader.watch.running():
            with AnswerMemory(0).reading() as kept:
                adder = EventAdder(reader, kept)
                for count in range(0, 20_000, 500):
                    deltas = (template.replace(b"@", b"%d" % number) for number in range(count, count + 500))
                    try:
                        await adder.add([WRAPPINGS[dialect] % delta for delta in deltas])
                    except AnswerTooLarge:
                        return True
        return False

    assert asyncio.run(work())


def test_a_long_ordinary_stream_is_charged_for_its_text_alone() -> None:
    async def work() -> int:
        reader = AnswerReader(FORMATS["openai"], CallWatch(600.0))
        async with reader.watch.running():
            with AnswerMemory().reading() as kept:
                adder = EventAdder(reader, kept)
                await adder.add([orjson.dumps({"id": "x" * 300, **of_openai([])})] * 2_000)
                return kept.size

    assert asyncio.run(work()) < 10_000
