"""Puts pieces together again with the official clients: pieces become events of a wire, and the clients read those."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

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

_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
HEAD = {"id": "chatcmpl-job", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def without_covered(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces that a writer of the provider's own dialect sends."""
    covered = 0
    for piece in pieces:
        if covered == 0:
            yield piece
        covered = piece.covers if isinstance(piece, RawEvent) else max(0, covered - 1)


def completion_of(pieces: Iterable[Piece], finish: str = "stop") -> dict[str, Any]:
    """The completion that an OpenAI client accumulates."""
    state: Any = ChatCompletionStreamState()
    chunks = [choice for piece in without_covered(pieces) for choice in _choices(piece)]
    indexes = dict.fromkeys(choice["index"] for choice in chunks)
    for choice in [*chunks, *({"index": index, "delta": {}, "finish_reason": finish} for index in indexes)]:
        chunk = {**HEAD, "choices": [{"finish_reason": None, **choice}]}
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True))
    snapshot: dict[str, Any] = state.current_completion_snapshot.to_dict()
    return snapshot


def _choices(piece: Piece) -> Iterator[dict[str, Any]]:
    match piece:
        case RawEvent(event=event):
            yield from event["choices"]
        case TextPiece(choice, text):
            yield {"index": choice, "delta": {"content": text}}
        case ThinkingPiece(choice, text):
            yield {"index": choice, "delta": {"reasoning_content": text}}
        case RefusalPiece(choice, text):
            yield {"index": choice, "delta": {"refusal": text}}
        case ToolStart(choice, call, call_id, name):
            function = {"name": name, "arguments": ""}
            calls = [{"index": call, "id": call_id, "type": "function", "function": function}]
            yield {"index": choice, "delta": {"tool_calls": calls}}
        case ToolArguments(choice, call, text):
            yield {"index": choice, "delta": {"tool_calls": [{"index": call, "function": {"arguments": text}}]}}


def content_of(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """The content of the message that an Anthropic client accumulates."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in _message_events(pieces):
        read = _EVENT.validate_python(event)
        snapshot = accumulate_event(event=read, current_snapshot=snapshot, json_bufs=buffers)
    content: list[dict[str, Any]] = snapshot.to_dict()["content"]
    return content


def _message_events(pieces: Iterable[Piece]) -> Iterator[dict[str, Any]]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}}
    index, kind = -1, ""
    for piece in without_covered(pieces):
        block, delta = _block_and_delta(piece)
        if block is not None and (block["type"] != kind or block["type"] == "tool_use" or isinstance(piece, RawEvent)):
            index, kind = index + 1, block["type"]
            yield {"type": "content_block_start", "index": index, "content_block": block}
        if delta is not None:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        if isinstance(piece, SignaturePiece):
            kind = ""


def _block_and_delta(piece: Piece) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The block that a piece belongs to, as it begins, and what the piece adds to it."""
    match piece:
        case RawEvent(event=event):
            return event.get("content_block"), event.get("delta")
        case TextPiece(_, text):
            return {"type": "text", "text": ""}, {"type": "text_delta", "text": text}
        case ThinkingPiece(_, text):
            thinking = {"type": "thinking", "thinking": "", "signature": ""}
            return thinking, {"type": "thinking_delta", "thinking": text}
        case SignaturePiece(_, text):
            thinking = {"type": "thinking", "thinking": "", "signature": ""}
            return thinking, {"type": "signature_delta", "signature": text}
        case ToolStart(_, _, call_id, name):
            return {"type": "tool_use", "id": call_id, "name": name, "input": {}}, None
        case ToolArguments(_, _, text):
            return None, {"type": "input_json_delta", "partial_json": text}
    return None, None
