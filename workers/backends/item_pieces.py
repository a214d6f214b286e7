"""The typed pieces of a streamed Response, from the events of its items. Pure.

Typed pieces say the texts. An item's beginning and end, its parts, its annotations and the tools of the provider are
carried as the provider's own events, without the texts that other events repeat.
"""

from __future__ import annotations

from typing import Any

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
)
from openfall.workers.backends.translate.json_values import text_field

_DELTAS: dict[str, type[TextPiece | ThinkingPiece | RefusalPiece]] = {
    "response.output_text.delta": TextPiece,
    "response.refusal.delta": RefusalPiece,
    "response.reasoning_text.delta": ThinkingPiece,
    "response.reasoning.delta": ThinkingPiece,  # of Open Responses
    "response.reasoning_summary_text.delta": ThinkingPiece,
}
_REPEATED = frozenset({
    "response.created", "response.queued", "response.in_progress", "response.output_text.done",
    "response.refusal.done", "response.reasoning_text.done", "response.reasoning.done",
    "response.reasoning_summary_text.done", "response.reasoning_summary_part.done", "response.content_part.done",
    "response.function_call_arguments.done",
})  # fmt: skip
"""Events that add nothing to those before them."""
_TEXTS = ("content", "summary", "arguments")
_TYPED_ITEMS = ("message", "reasoning", "function_call")
"""The items whose texts typed pieces say."""


class ItemPieces:
    """Reads the events of the items of one Response."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        """The number of a tool call, by the index of its item."""
        self._begun: set[int] = set()
        self._written: set[int] = set()
        """The items of which a text has arrived."""
        self._characters = 0

    def take_characters(self) -> int:
        """The generated characters since the last time."""
        count, self._characters = self._characters, 0
        return count

    def add(self, event: dict[str, Any]) -> list[Piece]:
        """The pieces of one event."""
        kind, index, item = event["type"], event.get("output_index"), event.get("item")
        if kind in _REPEATED or not isinstance(index, int):
            return []
        if kind in _DELTAS or kind == "response.function_call_arguments.delta":
            return self._text(kind, index, event)
        self._characters += len(delta) if isinstance(delta := event.get("delta"), str) else 0
        if not isinstance(item, dict):
            return [_raw(event)]
        if kind == "response.output_item.added":
            return self._begin(index, item)
        return self._end(index, item) if kind == "response.output_item.done" else [_raw(event)]

    def _text(self, kind: str, index: int, event: dict[str, Any]) -> list[Piece]:
        text = event.get("delta")
        if not isinstance(text, str) or not text:
            return []
        self._characters += len(text)
        self._written.add(index)
        if kind not in _DELTAS:
            return [ToolArguments(0, self._calls.get(index, 0), text)]
        piece = _DELTAS[kind](0, text)
        return [_raw(event, 1), piece] if event.get("logprobs") else [piece]

    def _begin(self, index: int, item: dict[str, Any]) -> list[Piece]:
        self._begun.add(index)
        began = {"type": "response.output_item.added", "output_index": index, "item": item}
        if item.get("type") != "function_call":
            return [RawEvent(began)]
        call = self._calls[index] = len(self._calls)
        name = text_field(item, "name")
        self._characters += len(name)
        return [RawEvent(began, 1), ToolStart(0, call, text_field(item, "call_id"), name)]

    def _end(self, index: int, item: dict[str, Any]) -> list[Piece]:
        """The end of an item, with its texts if no event before had them."""
        pieces: list[Piece] = []
        is_new_call = item.get("type") == "function_call" and index not in self._calls  # it began as another item
        if index not in self._begun or is_new_call:
            pieces += self._begin(index, {**item, **{name: [] for name in ("content", "summary") if name in item}})
        if index not in self._written and item.get("type") in _TYPED_ITEMS:
            whole = pieces_of_answer({"output": [item]}, "responses")
            pieces += [self._numbered(index, piece) for piece in whole if not isinstance(piece, _NEVER_AGAIN)]
        elif isinstance(signature := item.get("encrypted_content"), str) and signature:
            pieces.append(SignaturePiece(0, signature))
        if item.get("type") in _TYPED_ITEMS:
            item = {key: value for key, value in item.items() if key not in _TEXTS}
        return [*pieces, RawEvent({"type": "response.output_item.done", "output_index": index, "item": item})]

    def _numbered(self, index: int, piece: Piece) -> Piece:
        self._characters += len(getattr(piece, "text", ""))
        return ToolArguments(0, self._calls[index], piece.text) if isinstance(piece, ToolArguments) else piece


_NEVER_AGAIN = RawEvent | ToolStart


def _raw(event: dict[str, Any], covers: int = 0) -> RawEvent:
    return RawEvent({key: value for key, value in event.items() if key != "sequence_number"}, covers)
