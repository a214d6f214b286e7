"""The pieces of a stream in an order that every API can say: each tool call is whole before anything follows it."""

from __future__ import annotations

import pytest

from openfall.router_core.jobs.stream_pieces import Piece, RawEvent, TextPiece, ToolArguments, ToolStart, UsagePiece
from openfall.workers.backends.call_order import CallOrder

LOOK, BOW, NOD = ToolStart(0, 0, "c1", "look"), ToolStart(0, 1, "c2", "bow"), ToolStart(0, 2, "c3", "nod")
TEXT, USAGE, RAW = TextPiece(0, "hm"), UsagePiece(7, 2), RawEvent({"type": "done"})


def arguments(call: int, text: str) -> ToolArguments:
    return ToolArguments(0, call, text)


WHOLE = [LOOK, arguments(0, '{"at":'), arguments(0, '"dusk"}'), BOW, arguments(1, '{"to":'), arguments(1, '"moon"}')]
A, B, C, D, E, F = WHOLE


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (WHOLE, WHOLE),
        ([A, D, B, E, C, F], WHOLE),
        ([A, D, E, F, B, C], WHOLE),
        ([D, E, F, A, B, C], [A, B, C, D, E, F]),
        ([D, A, E, B, F, C], WHOLE),
        ([A, B, TEXT, C, D, E, F], [A, B, C, TEXT, D, E, F]),
        ([A, B, RAW, TEXT, C], [A, B, C, RAW, TEXT]),
        ([A, B, USAGE, C], [A, B, USAGE, C]),
        ([A, B, C, TEXT, arguments(0, "\n")], [A, B, C, TEXT, arguments(0, "\n")]),
        ([A, D, NOD, arguments(2, "{}"), E, F, B, C], [*WHOLE, NOD, arguments(2, "{}")]),
        ([TEXT, A, B, C], [TEXT, A, B, C]),
        ([RawEvent({}, 1), A, RawEvent({}, 1), D, B, E, C, F],
         [RawEvent({}, 1), A, B, C, RawEvent({}, 1), D, E, F]),
        ([arguments(0, "{}"), LOOK], [LOOK, arguments(0, "{}")]),
    ],
)  # fmt: skip
def test_each_call_is_whole_before_anything_follows_it(pieces: list[Piece], expected: list[Piece]) -> None:
    at_once, one_by_one = CallOrder(), CallOrder()
    assert at_once.add(pieces) + at_once.end() == expected
    assert [sent for piece in _units(pieces) for sent in one_by_one.add(piece)] + one_by_one.end() == expected


def test_a_call_that_is_never_whole_holds_back_what_follows_it_to_the_end() -> None:
    order = CallOrder()
    assert order.add([A, B, TEXT, D, E, TEXT, F]) == [A, B]
    assert order.end() == [TEXT, D, E, F, TEXT]


def test_calls_in_order_wait_for_nothing() -> None:
    order = CallOrder()
    assert [order.add([piece]) for piece in WHOLE] == [[piece] for piece in WHOLE]


def test_the_calls_of_each_choice_are_numbered_apart() -> None:
    other = [ToolStart(1, 0, "d1", "look"), ToolArguments(1, 0, "{}")]
    assert CallOrder().add([A, B, C, *other]) == [A, B, C, *other]


def _units(pieces: list[Piece]) -> list[list[Piece]]:
    """Each piece, or an event with what it covers."""
    units: list[list[Piece]] = []
    for piece in pieces:
        covered = units and isinstance(units[-1][-1], RawEvent) and units[-1][-1].covers
        units = [*units[:-1], [*units[-1], piece]] if covered else [*units, [piece]]
    return units
