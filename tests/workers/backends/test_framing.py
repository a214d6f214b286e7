"""Streams cut anywhere: the events are the same, and no event is too odd to be taken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_core.outcome import Completion, Failure
from workers.backends.answer import Assembly
from workers.backends.anthropic_answer import StreamedMessage
from workers.backends.framing import Events, Framing, Lines
from workers.backends.openai_answer import StreamedAnswer

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def framed(framing: Framing, data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    chunks = [data[start:end] for start, end in pairwise(places)]
    return [event for chunk in chunks for event in framing.feed(chunk)] + list(framing.end())


@given(st.lists(TEXT), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 10**6)), st.booleans())
def test_events_are_the_same_wherever_they_are_cut(
    texts: list[str], newline: bytes, cuts: list[int], ended: bool
) -> None:
    frames = [b": a comment" + newline + b"event: x" + newline + b"data: " + text.encode() for text in texts]
    data = (2 * newline).join(frames) + (2 * newline if ended else b"")
    assert framed(Events(), data, cuts) == [text.encode() for text in texts]


@given(st.lists(TEXT), st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.lists(st.integers(0, 10**6)), st.booleans())
def test_lines_are_the_same_wherever_they_are_cut(
    texts: list[str], newline: bytes, cuts: list[int], ended: bool
) -> None:
    lines = [orjson.dumps(text) for text in texts]
    assert framed(Lines(), newline.join(lines) + (newline if ended else b""), cuts) == lines


ODD = st.sampled_from(
    [None, True, 0, -1, 2, 1.5, "", "stop", "{", "tool_use", [], [1], [None], {}, {"text": 3}, {"a": []}]
)
"""What may stand where something else should."""


def shape(**fields: object) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields: each as it should be, or odd."""
    kinds = {
        key: ODD | (value if isinstance(value, st.SearchStrategy) else st.just(value)) for key, value in fields.items()
    }
    return st.fixed_dictionaries({}, optional=kinds)


BLOCK = shape(type="tool_use", id="t", input={}, text="a", citations=[1])
DELTA = st.one_of(
    shape(type="text_delta", text="a"),
    shape(type="thinking_delta", thinking="a"),
    shape(type="input_json_delta", partial_json="{}"),
    shape(type="signature_delta", signature="a"),
    shape(type="citations_delta", citation={"cited_text": "a"}),
)
CALL = shape(index=0, id="c", type="function", function=shape(name="f", arguments="{}"))
PIECE = shape(content="a", role="assistant", reasoning_content="a", tool_calls=st.lists(CALL | ODD, max_size=2))
CHOICE = shape(
    index=0, delta=PIECE, message=PIECE, finish_reason="stop", logprobs=shape(content=[1]), error={"code": 1}
)
EVENT = st.one_of(
    shape(type="message_start", message=shape(usage=shape(input_tokens=1), content=[], stop_reason="end_turn")),
    shape(type="content_block_start", index=0, content_block=BLOCK),
    shape(type="content_block_delta", index=0, delta=DELTA),
    shape(type="message_delta", delta=shape(stop_reason="end_turn"), usage=shape(output_tokens=1)),
    shape(choices=st.lists(CHOICE | ODD, max_size=2), usage=shape(prompt_tokens=1), id="x"),
)


@pytest.mark.parametrize("assembly", [StreamedMessage, StreamedAnswer])
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, derandomize=True)
@given(told=st.lists(EVENT, max_size=5))
def test_no_event_is_too_odd_to_be_taken(assembly: type[Assembly], told: list[dict[str, Any]]) -> None:
    answer = assembly()
    for event in told:
        if not answer.ended:
            assert isinstance(answer.take(orjson.dumps(event)), str)
    assert isinstance(answer.outcome(), Completion | Failure)


@pytest.mark.parametrize("assembly", [StreamedMessage, StreamedAnswer])
@given(st.binary(max_size=30))
def test_no_bytes_are_too_odd_to_be_taken(assembly: type[Assembly], event: bytes) -> None:
    answer = assembly()
    answer.take(event)
    assert isinstance(answer.outcome(), Failure)
