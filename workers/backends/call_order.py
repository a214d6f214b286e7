"""The order of the pieces of a stream: each tool call is whole before anything follows it. Pure.

Some servers write two calls by turns, or a text into the arguments of a call. The messages of Anthropic and the items
of a Response have no form for that, and openai-python reads a call as complete when another one begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from openfall.router_core.jobs.stream_pieces import Piece, RawEvent, ToolArguments, ToolStart, UsagePiece
from openfall.workers.backends.tool_call_pieces import is_complete

_Unit = tuple[Piece, ...]
"""A piece, or an event with the pieces that it covers."""


class CallOrder:
    """Orders the pieces of one answer. The calls of a choice begin in the order of their numbers."""

    def __init__(self) -> None:
        self._open: tuple[int, int] | None = None
        """The choice and the number of the call whose arguments may go on."""
        self._arguments: list[str] = []
        self._has_grown = False
        """The arguments have grown since they were last found to be a part of an object."""
        self._next: dict[int, int] = {}
        """By choice, the number of the call that begins next."""
        self._waiting: list[_Unit] = []

    def add(self, pieces: Iterable[Piece]) -> list[Piece]:
        """The pieces that are due by now. The others wait for the end of a call, or of the stream."""
        due: list[Piece] = []
        for unit in _units(pieces):
            self._waiting.append(unit)
            if self._is_due(unit):
                self._waiting.pop()
                due += self._send(unit)
                if self._waiting and _call_of(unit) is not None and self._is_whole():
                    due += self._send_waiting()
        return due

    def end(self) -> list[Piece]:
        """What still waits at the end of the stream, each call in one piece."""
        waiting, self._waiting = self._waiting, []
        calls = sorted((unit for unit in waiting if _call_of(unit) is not None), key=lambda unit: _call_of(unit) or ())
        first = next((place for place, unit in enumerate(waiting) if _call_of(unit) is not None), 0)
        others = [unit for unit in waiting[first:] if _call_of(unit) is None]
        return [piece for unit in (*waiting[:first], *calls, *others) for piece in unit]

    def _send_waiting(self) -> Iterator[Piece]:
        """What has become due. A call that begins may end at once, so that more is due after it."""
        count = 0
        while count != len(self._waiting):
            count = len(self._waiting)
            waiting, self._waiting = self._waiting, []
            for unit in waiting:
                if self._is_due(unit):
                    yield from self._send(unit)
                else:
                    self._waiting.append(unit)

    def _is_due(self, unit: _Unit) -> bool:
        piece, call = _first(unit), _call_of(unit)
        if isinstance(piece, UsagePiece) or (call is not None and call == self._open):
            return True
        if not self._is_whole():
            return False
        return call is None or call[1] <= self._next.get(call[0], 0) - isinstance(piece, ToolArguments)

    def _send(self, unit: _Unit) -> _Unit:
        for piece in unit:
            if isinstance(piece, ToolStart):
                self._open, self._arguments, self._has_grown = (piece.choice, piece.call), [], True
                self._next[piece.choice] = piece.call + 1
            elif isinstance(piece, ToolArguments) and (piece.choice, piece.call) == self._open:
                self._arguments.append(piece.text)
                self._has_grown = self._has_grown or piece.text.rstrip().endswith("}")
        return unit

    def _is_whole(self) -> bool:
        """Whether no call is open whose arguments are only a part of an object."""
        if self._open is not None and self._has_grown:
            self._has_grown = False
            if is_complete("".join(self._arguments)):
                self._open = None
        return self._open is None


def _units(pieces: Iterable[Piece]) -> Iterator[_Unit]:
    unit: list[Piece] = []
    covered = 0
    for piece in pieces:
        covered = covered - 1 if covered > 0 else piece.covers if isinstance(piece, RawEvent) else 0
        unit.append(piece)
        if not covered:
            yield tuple(unit)
            unit = []
    if unit:
        yield tuple(unit)


def _first(unit: _Unit) -> Piece:
    """The piece, or the first one that an event covers."""
    return unit[1] if len(unit) > 1 else unit[0]


def _call_of(unit: _Unit) -> tuple[int, int] | None:
    """The choice and the number of the call that a unit is a part of."""
    piece = _first(unit)
    return (piece.choice, piece.call) if isinstance(piece, ToolStart | ToolArguments) else None
