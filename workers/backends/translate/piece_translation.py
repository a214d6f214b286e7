"""Translates the pieces of a stream from the dialect of a backend into that of a caller. Pure.

Typed pieces belong to no dialect. A caller gets the ids and names of tool calls that the response will have. A
caller of another dialect gets no events of the provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from openfall.router_core.jobs.stream_pieces import Piece, RawEvent, ToolArguments, ToolStart
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.call_request import OnPieces, Request
from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.json_values import safe_id
from openfall.workers.backends.translate.older_functions import has_functions
from openfall.workers.backends.translate.tool_names import callers_names


def translated_pieces(request: Request, dialect: Dialect, on_pieces: OnPieces) -> OnPieces:
    """A receiver for the pieces of a backend of a dialect. It gives `on_pieces` those for the caller of a request."""
    is_same = request.dialect == dialect
    if is_same and dialect not in ("openai", "anthropic"):
        return on_pieces
    ids: dict[int, CallIds] = {}
    """By choice. Few answers call a tool, and a request may have many messages."""

    def translate(piece: Piece) -> Piece:
        if not isinstance(piece, ToolStart):
            return piece
        if piece.choice not in ids:
            ids[piece.choice] = CallIds.after(request.body)
        given, name = piece.id, piece.name
        if not is_same:
            given = safe_id(given) if request.dialect == "anthropic" else given
            name = callers_names(request.body, dialect).get(name, name)
        return replace(piece, id=ids[piece.choice].add_call(given), name=name)

    is_older = not is_same and request.dialect == "openai" and has_functions(request.body)

    def receive(pieces: Sequence[Piece]) -> None:
        if kept := [translate(piece) for piece in pieces if is_same or not isinstance(piece, RawEvent)]:
            on_pieces([older for piece in kept for older in _older(piece)] if is_older else kept)

    return receive


def _older(piece: Piece) -> Iterator[Piece]:
    """A piece for a caller of `functions`: the first call is a `function_call`, and no other one has a form."""
    match piece:
        case ToolStart(call=0, name=name):
            yield _function_call(piece.choice, {"name": name, "arguments": ""})
        case ToolArguments(call=0, text=text):
            yield _function_call(piece.choice, {"arguments": text})
        case ToolStart() | ToolArguments():
            return
        case _:
            yield piece


def _function_call(choice: int, function: Mapping[str, str]) -> RawEvent:
    return RawEvent({"choices": [{"index": choice, "delta": {"function_call": function}}]})
