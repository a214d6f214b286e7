"""The typed pieces of a message of Anthropic's, from the events of its blocks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.stream_pieces import (
    Piece,
    RawEvent,
    SignaturePiece,
    TextPiece,
    ThinkingPiece,
    ToolArguments,
    ToolStart,
)
from openfall.workers.backends.exact_json import dumps
from openfall.workers.backends.translate.json_values import text_field

_PLAIN = {"text": frozenset({"type", "text", "citations"}), "thinking": frozenset({"type", "thinking", "signature"})}
"""The blocks that typed pieces can say, with their fields."""

DELTAS: Mapping[str, tuple[str, str | None]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "thinking"),
    "input_json_delta": ("partial_json", "tool_use"),
}
"""By the type of a delta, the field with its text, and the kind of the blocks in which typed pieces can say it."""
_OTHER: tuple[str, None] = ("", None)

_CALL = frozenset({"type", "id", "name", "input"})


class BlockPieces:
    """Reads the events of blocks. A text belongs to the block that began last. The inputs of calls may be interleaved.

    Typed pieces say no border between two blocks of one kind, no citation, and no block of a server's tool: such an
    event is carried as it is.
    """

    def __init__(self) -> None:
        self._kind = ""
        """The kind of the open block. Empty: none is open that a text could continue."""
        self._calls: dict[int, int] = {}
        """The number of each tool call, by the place of its block."""
        self._input: Any = None
        """The whole input with which a tool call began. It counts if no delta follows."""

    def start_block(self, event: dict[str, Any], place: int) -> list[Piece]:
        """A block begins."""
        earlier, block, before = self._whole_input(), event["content_block"], self._kind
        kind = self._kind = block["type"]
        if kind == "tool_use":
            number = self._calls[place] = len(self._calls)
            self._input = block.get("input") or {}
            began = ToolStart(0, number, text_field(block, "id"), text_field(block, "name"))
            return [*earlier, began] if block.keys() <= _CALL else [*earlier, RawEvent(event, 1), began]
        if kind not in _PLAIN:
            return [*earlier, RawEvent(event)]
        pieces: list[Piece] = self._texts(block, kind)
        says_more = kind == before or bool(block.get("citations")) or not block.keys() <= _PLAIN[kind]
        return [*earlier, RawEvent(event, len(pieces)), *pieces] if says_more else [*earlier, *pieces]

    def extend_block(self, event: dict[str, Any], place: int) -> list[Piece]:
        """The block at a place grows."""
        delta = event["delta"]
        kind = delta.get("type")
        field, of_block = DELTAS.get(kind, _OTHER) if isinstance(kind, str) else _OTHER
        text, of_call = delta.get(field), place in self._calls
        fits = of_call if of_block == "tool_use" else not of_call and of_block == self._kind
        if not fits or not isinstance(text, str):
            return [RawEvent(event)]
        if not text:
            return []
        if kind == "text_delta":
            return [TextPiece(0, text)]
        if kind == "thinking_delta":
            return [ThinkingPiece(0, text)]
        if kind == "signature_delta":
            return self._signature(text)
        self._input = None
        return [ToolArguments(0, self._calls[place], text)]

    def end_block(self) -> list[Piece]:
        """The open block ends: a call without any input has an empty one."""
        if self._input == {}:
            self._input = None
            return [ToolArguments(0, len(self._calls) - 1, "{}")]
        return self._whole_input()

    def _whole_input(self) -> list[Piece]:
        value, self._input = self._input, None
        return [ToolArguments(0, len(self._calls) - 1, dumps(value).decode())] if value else []

    def _texts(self, block: dict[str, Any], kind: str) -> list[Piece]:
        text, signature = block.get(kind), block.get("signature")
        pieces: list[Piece] = []
        if isinstance(text, str) and text:
            pieces.append(TextPiece(0, text) if kind == "text" else ThinkingPiece(0, text))
        if kind == "thinking" and isinstance(signature, str) and signature:
            pieces += self._signature(signature)
        return pieces

    def _signature(self, text: str) -> list[Piece]:
        """A signature ends its thinking: a block of thinking after it needs no border."""
        self._kind = "signed"
        return [SignaturePiece(0, text)]
