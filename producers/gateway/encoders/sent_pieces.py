"""What a caller has received of an answer, and the rest of it when the answer is whole. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from openfall.router_core.jobs.stream_pieces import (
    GrowingPiece,
    Piece,
    RawEvent,
    SignaturePiece,
    ToolArguments,
    ToolStart,
    UsagePiece,
    same_text,
)

_BLANK = " \t\r\n"


class SentPieces:
    """The lengths of the texts, the tool calls and their arguments that have been sent.

    The pieces of an attempt are a beginning of its answer, so the rest of the whole answer is what follows them. The
    arguments of a call may be an object in the whole answer, which does not say how its model has written it.
    """

    def __init__(self) -> None:
        self._lengths: Counter[Any] = Counter()
        self._others: Counter[Any] = Counter()
        self._arguments: dict[tuple[int, int], list[str]] = {}
        """By choice and call, the parts."""
        self.any = False
        """A part of the answer has been sent. The count of its tokens is none."""

    def add(self, pieces: Iterable[Piece]) -> None:
        """These pieces are sent."""
        for piece in pieces:
            self.any = self.any or not isinstance(piece, UsagePiece)
            if isinstance(piece, ToolArguments):
                self._arguments.setdefault((piece.choice, piece.call), []).append(piece.text)
            elif isinstance(piece, GrowingPiece):
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
                if text := self._rest_of(piece, lengths):
                    yield replace(piece, text=text)
            elif isinstance(piece, ToolStart | SignaturePiece):
                key = (piece.choice, piece.call) if isinstance(piece, ToolStart) else piece.choice
                if others[key]:
                    others[key] -= 1
                else:
                    yield piece
            elif not (self.any and isinstance(piece, RawEvent)):
                yield piece

    def _rest_of(self, piece: GrowingPiece, lengths: Counter[Any]) -> str:
        """What a text lacks. `lengths`: what has been sent of each, less what was found in earlier pieces."""
        if isinstance(piece, ToolArguments):
            return _rest_of_json("".join(self._arguments.get((piece.choice, piece.call), ())), piece.text)
        sent = min(lengths[same_text(piece)], len(piece.text))
        lengths[same_text(piece)] -= sent
        return piece.text[sent:]


def _rest_of_json(sent: str, whole: str) -> str:
    """What a JSON text lacks behind its beginning, which may have other white space. Empty: nothing, or it is unknown,
    as the same value was written otherwise."""
    if whole.startswith(sent):
        return whole[len(sent) :]
    try:
        from_json(sent)
    except ValueError:
        return whole[place:] if (place := _place_in(whole, sent)) is not None else ""
    return ""


def _place_in(whole: str, sent: str) -> int | None:
    """The place in a JSON text behind its beginning. None: the two texts are different."""
    place, in_string, is_escaped = 0, False, False
    for sign in sent:
        if not in_string:
            if sign in _BLANK:
                continue
            while whole[place : place + 1] and whole[place] in _BLANK:
                place += 1
        if whole[place : place + 1] != sign:
            return None
        place += 1
        in_string ^= sign == '"' and not is_escaped
        is_escaped = in_string and sign == "\\" and not is_escaped
    return place
