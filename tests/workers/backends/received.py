"""What a caller of a backend receives while an answer is streamed."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.router_core.jobs.stream_pieces import Piece, text_of
from openfall.workers.backends.call_request import OnPieces


def texts_into(deltas: list[str] | None) -> OnPieces | None:
    """A receiver that appends the text of each event that has some. None: the call has no stream."""
    if deltas is None:
        return None

    def receive(pieces: Sequence[Piece]) -> None:
        if text := text_of(pieces):
            deltas.append(text)

    return receive
