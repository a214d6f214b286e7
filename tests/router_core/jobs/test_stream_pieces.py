"""Pieces of a streamed answer: joined, split and carried by the events of a job, and read back by any version."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from openfall.router_core.jobs import stream_pieces
from openfall.router_core.jobs.stream_pieces import (
    Piece,
    RawEvent,
    RefusalPiece,
    SignaturePiece,
    TextPiece,
    ThinkingPiece,
    ToolArguments,
    ToolStart,
    UnknownPiece,
    UsagePiece,
    gather,
    pack_events,
    read_pieces,
    text_of,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
INDEX = st.integers(0, 2)
PIECES = st.one_of(
    st.builds(TextPiece, INDEX, TEXTS),
    st.builds(ThinkingPiece, INDEX, TEXTS),
    st.builds(SignaturePiece, INDEX, TEXTS),
    st.builds(ToolStart, INDEX, INDEX, TEXTS, TEXTS),
    st.builds(ToolArguments, INDEX, INDEX, TEXTS),
    st.builds(RefusalPiece, INDEX, TEXTS),
    st.builds(UsagePiece, INDEX, st.none(), INDEX),
    st.builds(RawEvent, st.dictionaries(TEXTS, INDEX), INDEX),
)


def carried(*sent: Piece) -> list[Piece]:
    """The pieces that a reader gets."""
    return [piece for event in pack_events(sent) for piece in read_pieces(from_json(event))]


def growth(sent: list[Piece]) -> dict[Any, str]:
    """By kind and numbers, the whole text of the pieces that grow."""
    texts: dict[Any, str] = {}
    for piece in sent:
        if isinstance(piece, stream_pieces.GrowingPiece):
            texts[key] = texts.get(key := stream_pieces.same_text(piece), "") + piece.text
    return texts


@given(st.lists(PIECES, max_size=12))
def test_every_text_and_every_other_piece_arrives_whole_and_in_order(sent: list[Piece]) -> None:
    received = carried(*sent)
    assert growth(received) == growth(sent)
    others = [
        [piece for piece in all_ if not isinstance(piece, stream_pieces.GrowingPiece)] for all_ in (received, sent)
    ]
    assert others[0] == others[1]
    assert text_of(received) == text_of(sent)


def test_neighbours_that_continue_one_text_are_joined() -> None:
    sent = [TextPiece(0, "a"), TextPiece(0, "b"), TextPiece(1, "c"), ToolArguments(0, 0, "{"), ToolArguments(0, 1, "}")]
    assert gather(sent) == [TextPiece(0, "ab"), *sent[2:]]


def test_what_a_providers_event_covers_is_joined_with_nothing() -> None:
    sent = [TextPiece(0, "a"), RawEvent({"n": 1}, 1), TextPiece(0, "b"), TextPiece(0, "c"), TextPiece(0, "d")]
    assert gather(sent) == [*sent[:3], TextPiece(0, "cd")]


def test_the_text_of_an_answer_is_that_of_its_first_choice() -> None:
    sent = [TextPiece(0, "Lan"), ThinkingPiece(0, "hm"), TextPiece(1, "x"), RefusalPiece(0, "no"), TextPiece(0, "tern")]
    assert text_of(sent) == "Lantern"
    assert text_of([ThinkingPiece(0, "hm"), TextPiece(1, "x")]) == text_of([]) == ""


def test_text_alone_takes_no_list_of_pieces() -> None:
    assert pack_events([TextPiece(0, "Lan"), TextPiece(0, "tern")]) == [b'{"event":"delta","text":"Lantern"}']
    assert carried(TextPiece(0, "Lantern")) == [TextPiece(0, "Lantern")]
    assert pack_events([TextPiece(1, "x")]) == [b'{"event":"delta","p":[["text",1,"x"]]}']
    assert pack_events([]) == []


def test_a_long_answer_is_split_into_events_of_bounded_size() -> None:
    sent = [TextPiece(0, "x" * 300_000), ThinkingPiece(0, "y" * 300_000)]
    events = pack_events(sent)
    assert max(map(len, events)) <= stream_pieces.MAX_EVENT_BYTES + 100
    assert growth(carried(*sent)) == growth(sent)


def test_an_event_of_a_provider_that_is_too_long_is_not_carried() -> None:
    long = RawEvent({"data": "x" * stream_pieces.MAX_RAW_BYTES}, 1)
    assert carried(long, TextPiece(0, "x"), RawEvent({"data": 1})) == [TextPiece(0, "x"), RawEvent({"data": 1})]
    assert pack_events([long]) == []


@pytest.mark.parametrize("row", [["hologram", 0, {"depth": 3}], ["tool", 0, 1]])
def test_a_reader_carries_a_piece_of_a_kind_that_it_does_not_know(row: list[Any]) -> None:
    (piece,) = read_pieces({"event": "delta", "p": [row]})
    assert piece == UnknownPiece(row)
    assert carried(piece, TextPiece(0, "a")) == [piece, TextPiece(0, "a")]


def test_a_reader_ignores_fields_that_a_newer_version_has_appended() -> None:
    assert read_pieces({"event": "delta", "p": [["text", 0, "a", {"new": 1}]]}) == (TextPiece(0, "a"),)
