"""Translates the pieces of a stream from the dialect of a backend into that of a caller. Pure.

Typed pieces belong to no dialect. A caller of another dialect gets no events of the provider, and the ids of tool calls
that the translated response will have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from openfall.router_core.jobs.pieces import Piece, RawEvent, ToolStart
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.base import OnPieces, Request
from openfall.workers.backends.translate.call_ids import CallIds
from openfall.workers.backends.translate.json_values import safe_id


def translated_pieces(request: Request, dialect: Dialect, on_pieces: OnPieces) -> OnPieces:
    """A receiver for the pieces of a backend of a dialect. It gives `on_pieces` those for the caller of a request."""
    if request.dialect == dialect:
        return on_pieces
    ids: CallIds | None = None

    def translate(piece: Piece) -> Piece:
        nonlocal ids
        if not isinstance(piece, ToolStart):
            return piece
        ids = ids or CallIds.after(request.body)  # few answers call a tool, and a request may have many messages
        given = safe_id(piece.id) if request.dialect == "anthropic" else piece.id
        return replace(piece, id=ids.add_call(given))

    def receive(pieces: Sequence[Piece]) -> None:
        if kept := [translate(piece) for piece in pieces if not isinstance(piece, RawEvent)]:
            on_pieces(kept)

    return receive
