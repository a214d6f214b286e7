"""The bodies and the events of Anthropic's messages. Pure.

No event type of ours: the AI SDK throws at one. `ping` keeps the connection open, also before `message_start`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.encoders.sent_pieces import SentPieces
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.result import Result
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
)
from openfall.router_core.vocabulary import MODEL_WAITS

Event = tuple[str, dict[str, Any]]

_PING: Event = ("ping", {})
_BLOCKS: Mapping[str, dict[str, Any]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
_SIGNED = "signed"
"""The kind of an open block of thinking that has its signature: no text continues it."""


def message_id(job_id: str) -> str:
    return f"msg_{job_id}"


def message(result: Result, asked_for: str, receipt: dict[str, Any] | None) -> dict[str, Any]:
    """The whole response: the provider's own, with an id of ours, and the model that the caller asked for."""
    body = dict(result.body or {})
    body.update(id=message_id(result.id), type="message", role="assistant", model=asked_for)
    if receipt is not None:
        body["openfall"] = receipt
    return body


@dataclass(slots=True)
class MessageStream:
    """One streamed answer. `prompt_tokens` is an estimate: it stands until the provider has counted them."""

    job_id: str
    asked_for: str
    prompt_tokens: int
    sent: SentPieces = field(default_factory=SentPieces)
    _started: bool = False
    _open: str = ""
    """The kind of the open block; empty: none is open."""
    _index: int = -1
    """The index of the last block."""

    media_type = "text/event-stream"
    carries_failures = False

    def pieces(self, pieces: Iterable[Piece]) -> bytes:
        """The events for the next pieces of the answer."""
        pieces = list(pieces)
        self.sent.add(pieces)
        return _packed(self._of_pieces(pieces))

    def end(self, result: Result, receipt: Mapping[str, Any]) -> bytes:
        """What is left of the answer, the stop reason with the receipt, and the end."""
        body = result.body or {}
        rest = self.pieces(self.sent.rest(pieces_of_answer(body, "anthropic")))
        return rest + _packed(self._conclude(body, receipt))

    def failure(self, error: Mapping[str, Any]) -> bytes:
        """An error after the head: SDKs raise it."""
        return _packed([("error", dict(error))])

    def waiting(self, position: int | None) -> bytes:
        """Something that keeps the connection open while nothing is written."""
        return _packed([_PING])

    def progress(self, event: Mapping[str, Any]) -> bytes:
        """The protocol has no word for a model that is being loaded."""
        return _packed([_PING]) if event["event"] in MODEL_WAITS else b""

    def restart(self) -> None:
        """A client has no word for a text that is void."""

    def _of_pieces(self, pieces: list[Piece]) -> Iterator[Event]:
        covered = 0
        for piece in pieces:
            if covered:
                covered -= 1
                continue
            if isinstance(piece, UsagePiece) and piece.input_tokens is not None:
                self.prompt_tokens = piece.input_tokens
            if not isinstance(piece, UsagePiece):
                yield from self._start()
            if isinstance(piece, RawEvent):
                covered = piece.covers
                yield from self._raw(piece.event)
            else:
                yield from self._typed(piece)

    def _typed(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case TextPiece(choice=0, text=text) | RefusalPiece(choice=0, text=text):
                yield from self._block("text")
                yield self._delta({"type": "text_delta", "text": text})
            case ThinkingPiece(choice=0, text=text):
                yield from self._block("thinking")
                yield self._delta({"type": "thinking_delta", "thinking": text})
            case SignaturePiece(choice=0, text=text):
                yield from self._block("thinking")
                yield self._delta({"type": "signature_delta", "signature": text})
                self._open = _SIGNED
            case ToolStart(choice=0, id=call_id, name=name):
                yield from self._begin("tool_use", {"type": "tool_use", "id": call_id, "name": name, "input": {}})
            case ToolArguments(choice=0, text=text):
                yield self._delta({"type": "input_json_delta", "partial_json": text})

    def _raw(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """The provider's own event, under the index of this stream."""
        block = event.get("content_block")
        if event.get("type") == "content_block_start" and isinstance(block, Mapping):
            signed = block.get("type") == "thinking" and block.get("signature")
            yield from self._begin(str(block.get("type")), block)
            self._open = _SIGNED if signed else self._open
        elif event.get("type") == "content_block_delta" and isinstance(event.get("delta"), Mapping):
            if not self._open:
                yield from self._block("text")
            yield self._delta(event["delta"])

    def _block(self, kind: str) -> Iterator[Event]:
        """Open a block of this kind, unless one is open."""
        if self._open != kind:
            yield from self._begin(kind, _BLOCKS[kind])

    def _begin(self, kind: str, block: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._close()
        self._open, self._index = kind, self._index + 1
        yield "content_block_start", {"index": self._index, "content_block": dict(block)}

    def _delta(self, delta: Mapping[str, Any]) -> Event:
        return "content_block_delta", {"index": self._index, "delta": dict(delta)}

    def _close(self) -> Iterator[Event]:
        if self._open:
            self._open = ""
            yield "content_block_stop", {"index": self._index}

    def _start(self) -> Iterator[Event]:
        if self._started:
            return
        self._started = True
        message: dict[str, Any] = {
            "id": message_id(self.job_id),
            "type": "message",
            "role": "assistant",
            "model": self.asked_for,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": self.prompt_tokens, "output_tokens": 0},
        }
        yield "message_start", {"message": message}

    def _conclude(self, body: Mapping[str, Any], receipt: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._start()
        yield from self._close()
        delta = {"stop_reason": body.get("stop_reason") or "end_turn", "stop_sequence": body.get("stop_sequence")}
        usage = body.get("usage") if isinstance(body.get("usage"), Mapping) else {"output_tokens": 0}
        yield "message_delta", {"delta": delta, "usage": usage, "openfall": dict(receipt)}
        yield "message_stop", {}


def _packed(events: Iterable[Event]) -> bytes:
    """Events under the name of their type."""
    return b"".join(sse.named(name, {"type": name, **body}) for name, body in events)
