"""What the delta of a choice adds to its message: pieces, characters and fields. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openfall.router_core.jobs.pieces_from_response import OPENAI_MESSAGE
from openfall.router_core.jobs.stream_pieces import Piece, RefusalPiece, TextPiece, ThinkingPiece
from openfall.workers.backends.completion_shapes import content_of
from openfall.workers.backends.grown_list import grow_list
from openfall.workers.backends.parsing import append_text, content_text
from openfall.workers.backends.tool_call_pieces import ToolCallPieces, arguments_text

_LABELS = frozenset({"type", "id", "role"})


def count_characters(delta: dict[str, Any]) -> int:
    """The generated characters of a piece: not its role. A tool call counts by its name and its arguments."""
    texts = sum(len(value) for key, value in delta.items() if isinstance(value, str) and key != "role")
    for key in ("content", "tool_calls"):
        pieces = delta.get(key)
        for piece in pieces if isinstance(pieces, list) else ():
            parts = piece.get("function", piece) if isinstance(piece, dict) else None
            if not isinstance(parts, dict):
                continue
            texts += sum(len(value) for name, value in parts.items() if isinstance(value, str) and name not in _LABELS)
    return texts


def text_pieces(index: int, delta: dict[str, Any]) -> Iterator[Piece]:
    """The reasoning, the text and the refusal in a piece of a choice."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(reasoning := delta.get(name), str) and reasoning:
            yield ThinkingPiece(index, reasoning)
            break
    for field, text in _content_pieces(content_of(delta)):
        if text:
            yield TextPiece(index, text) if field == "content" else ThinkingPiece(index, text)
    if isinstance(refusal := delta.get("refusal"), str) and refusal:
        yield RefusalPiece(index, refusal)


def says_more(delta: dict[str, Any]) -> bool:
    """Whether a piece of a choice has what no typed piece can say."""
    if any(value and key not in OPENAI_MESSAGE for key, value in delta.items()):
        return True
    calls = delta.get("tool_calls")
    return isinstance(calls, list) and any(isinstance(call, dict) and "custom" in call for call in calls)


def merge_delta(message: dict[str, Any], delta: dict[str, Any], calls: ToolCallPieces) -> None:
    """Add a piece to a message."""
    if calls.calls:
        message["tool_calls"] = calls.calls
    for field, piece in _content_pieces(content_of(delta)):
        message[field] = append_text(message.get(field), piece)
    for key, value in delta.items():
        if key not in ("tool_calls", "content", "text", "parts", "role") and value is not None:
            message[key] = _merge_value(message.get(key), value)


def _merge_value(earlier: Any, value: Any) -> Any:
    """A field with its next piece: texts (reasoning, refusal) and lists grow, anything else is replaced."""
    if isinstance(value, str):
        return append_text(earlier, value)
    if isinstance(value, dict):
        return _merge_object(earlier, value) if isinstance(earlier, dict) else value
    return grow_list(earlier, value) if isinstance(value, list) else value


def _content_pieces(content: Any) -> Iterator[tuple[str, str]]:
    """The text of a content, and the reasoning in it, each with its field. Mistral sends a list of parts."""
    if isinstance(content, str):
        yield "content", content
        return
    for part in content if isinstance(content, list) else ():
        thinking = part.get("thinking") if isinstance(part, dict) else None
        if thinking is not None:
            yield "reasoning_content", content_text(thinking)
        else:
            yield "content", content_text([part])


def _merge_object(earlier: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    """An older `function_call`, or a sound, with its next piece: the texts that arrive in pieces are appended."""
    merged = earlier | {key: value for key, value in piece.items() if value is not None}
    for key in ("arguments", "data", "transcript"):
        if piece.get(key) is not None and earlier.get(key) is not None:
            merged[key] = arguments_text(earlier[key]) + arguments_text(piece[key])
    return merged


def merge_logprobs(choice: dict[str, Any], logprobs: Any) -> None:
    """Add the logprobs of a piece to those of its choice."""
    if not isinstance(logprobs, dict):
        return
    merged = choice.setdefault("logprobs", {})
    merged |= {key: grow_list(merged.get(key), value) for key, value in logprobs.items() if isinstance(value, list)}
