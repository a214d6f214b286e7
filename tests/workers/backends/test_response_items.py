"""The events of a streamed Response whose server contradicts itself about an item add no call that has not begun."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.stream_pieces import Piece, ToolArguments, ToolStart
from openfall.workers.backends.item_pieces import ItemPieces

CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a":1}'}


@pytest.mark.parametrize(
    "began", [None, {"type": "message"}, {"type": "reasoning"}, {"type": 7}, {"type": "function_call", "name": "look"}]
)
def test_a_call_that_began_as_another_item_begins_at_its_end(began: dict[str, Any] | None) -> None:
    reader = ItemPieces()
    pieces: list[Piece] = []
    if began is not None:
        pieces += reader.add({"type": "response.output_item.added", "output_index": 3, "item": began})
    pieces += reader.add({"type": "response.output_item.done", "output_index": 3, "item": CALL})
    assert [piece.call for piece in pieces if isinstance(piece, ToolStart)] == [0]
    assert [piece for piece in pieces if isinstance(piece, ToolArguments)] == [ToolArguments(0, 0, '{"a":1}')]
