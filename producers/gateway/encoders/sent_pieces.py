"""What a caller has received of an answer, and the rest of it when the answer is whole. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.stream_pieces import GrowingPiece, Piece, RawEvent, SignaturePiece, ToolStart, same_text


class SentPieces:
    """The lengths of the texts, and the tool calls, that have been sent.

    The pieces of an attempt are a beginning of its answer, so the rest of the whole answer is what follows them.
    """

    def __init__(self) -> None:
        self._lengths: Counter[Any] = Counter()
        self._others: Counter[Any] = Counter()
        self.any = False
        """Something has been sent."""

    def add(self, pieces: Iterable[Piece]) -> None:
        """These pieces are sent."""
        for piece in pieces:
            self.any = True
            if isinstance(piece, GrowingPiece):
                self._lengths[same_text(piece)] += len(piece.text)
            elif isinstance(piece, ToolStart):
                self._others[piece.choice, piece.call] += 1
            elif isinstance(piece, SignaturePiece):
                self._others[piece.choice] += 1

    def rest(self, whole: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces of the whole answer that have not been sent. After a stream that sent something, the provider's
        own events are left out: they were a part of it."""
        lengths, others = self._lengths.copy(), self._others.copy()
        for piece in whole:
            if isinstance(piece, GrowingPiece):
                sent = min(lengths[same_text(piece)], len(piece.text))
                lengths[same_text(piece)] -= sent
                if sent < len(piece.text):
                    yield replace(piece, text=piece.text[sent:])
            elif isinstance(piece, ToolStart | SignaturePiece):
                key = (piece.choice, piece.call) if isinstance(piece, ToolStart) else piece.choice
                if others[key]:
                    others[key] -= 1
                else:
                    yield piece
            elif not (self.any and isinstance(piece, RawEvent)):
                yield piece
