"""What a streamed answer is made of: typed pieces, and the events that carry them. Pure.

A reader concatenates the texts of the pieces of one kind with the same numbers. `choice` counts the choices of an
answer (OpenAI's `n`), and `call` the tool calls of a choice, both from 0. The pieces of an attempt are a beginning of
its answer: only the end can be missing, and the result has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any

from pydantic_core import to_json

MAX_PIECE_CHARACTERS = 65_536
"""A longer text is carried in several pieces."""

MAX_RAW_BYTES = 65_536
"""A longer event of a provider is not carried. The typed pieces and the result have its answer."""

MAX_EVENT_BYTES = 131_072
"""The pieces of one event of a job, unless one piece alone is larger."""


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The next part of the text that the caller reads."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingPiece:
    """The next part of the reasoning before the text."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class SignaturePiece:
    """The signature of the thinking before it, which ends there. A provider checks it when the thinking returns."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolStart:
    """A tool call begins. Its arguments follow. `id` is empty if the provider sends none."""

    choice: int
    call: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArguments:
    """The next part of the arguments of a tool call, as JSON text."""

    choice: int
    call: int
    text: str


@dataclass(frozen=True, slots=True)
class RefusalPiece:
    """The next part of a refusal."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class UsagePiece:
    """The tokens so far. None: the provider has not counted them yet. Later numbers replace earlier ones.

    `input_tokens` are all tokens of the prompt, those that a cache read or stored included.
    """

    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event of the provider, in the dialect of the caller, that says more than typed pieces can.

    The `covers` pieces after it say a part of it again, for readers of typed pieces. A writer of the same dialect sends
    the event and skips them.
    """

    event: Mapping[str, Any]
    covers: int = 0


@dataclass(frozen=True, slots=True)
class UnknownPiece:
    """A piece of a kind that this version does not know."""

    packed: Sequence[Any]


Piece = (
    TextPiece
    | ThinkingPiece
    | SignaturePiece
    | ToolStart
    | ToolArguments
    | RefusalPiece
    | UsagePiece
    | RawEvent
    | UnknownPiece
)
GrowingPiece = TextPiece | ThinkingPiece | ToolArguments | RefusalPiece
"""The pieces whose texts are concatenated."""

_KINDS: Mapping[str, type[Piece]] = {
    "text": TextPiece,
    "thinking": ThinkingPiece,
    "signature": SignaturePiece,
    "tool": ToolStart,
    "arguments": ToolArguments,
    "refusal": RefusalPiece,
    "usage": UsagePiece,
    "raw": RawEvent,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS.values()}


def text_of(pieces: Iterable[Piece]) -> str:
    """The text of the first choice in these pieces."""
    return "".join([piece.text for piece in pieces if isinstance(piece, TextPiece) and piece.choice == 0])


def same_text(piece: GrowingPiece) -> tuple[type[Piece], int, int]:
    """What the pieces of one growing text have in common."""
    return type(piece), piece.choice, piece.call if isinstance(piece, ToolArguments) else 0


def gather(pieces: Iterable[Piece]) -> list[Piece]:
    """The same pieces, with neighbours that continue one text joined. What an event covers stays as it is."""
    return [_join([piece for _, piece in group]) for _, group in groupby(_grouped(pieces), lambda pair: pair[0])]


def _grouped(pieces: Iterable[Piece]) -> Iterator[tuple[Any, Piece]]:
    """Each piece with what it shares with the neighbours that it can be joined with."""
    covered = 0
    for number, piece in enumerate(pieces):
        yield (number if covered or not isinstance(piece, GrowingPiece) else same_text(piece)), piece
        covered = piece.covers if isinstance(piece, RawEvent) else max(0, covered - 1)


def _join(parts: list[Any]) -> Piece:
    first: Piece = parts[0]
    return first if len(parts) == 1 else replace(parts[0], text="".join([part.text for part in parts]))


def pack_events(pieces: Iterable[Piece]) -> list[bytes]:
    """The events of a job that carry these pieces, as JSON: `{"event":"delta","text":"..."}` for text alone, else
    `{"event":"delta","p":[["thinking",0,"..."],...]}`."""
    gathered = [part for piece in gather(pieces) for part in _split(piece)]
    if len(gathered) == 1 and isinstance(first := gathered[0], TextPiece) and first.choice == 0:
        return [to_json({"event": "delta", "text": first.text})]
    events: list[list[bytes]] = []
    rows: list[bytes] = []
    size = 0
    for piece in gathered:
        row = to_json(_pack(piece))
        if isinstance(piece, RawEvent) and len(row) > MAX_RAW_BYTES:
            continue
        if rows and size + len(row) > MAX_EVENT_BYTES:
            events.append(rows)
            rows, size = [], 0
        rows.append(row)
        size += len(row)
    return [b'{"event":"delta","p":[' + b",".join(rows) + b"]}" for rows in (*events, rows) if rows]


def _split(piece: Piece) -> Iterator[Piece]:
    if not isinstance(piece, GrowingPiece) or len(piece.text) <= MAX_PIECE_CHARACTERS:
        yield piece
        return
    for start in range(0, len(piece.text), MAX_PIECE_CHARACTERS):
        yield replace(piece, text=piece.text[start : start + MAX_PIECE_CHARACTERS])


def _pack(piece: Piece) -> Sequence[Any]:
    if isinstance(piece, UnknownPiece):
        return piece.packed
    kind = type(piece)
    return [_NAMES[kind], *(getattr(piece, name) for name in _FIELDS[kind])]


def read_pieces(event: Mapping[str, Any]) -> tuple[Piece, ...]:
    """The pieces of an event `delta`."""
    rows = event.get("p")
    if rows is None:
        return (TextPiece(0, event["text"]),)
    return tuple(map(_unpack, rows))


def _unpack(row: Sequence[Any]) -> Piece:
    """A piece. A newer version may append fields to a kind."""
    kind = _KINDS.get(row[0])
    if kind is None or len(row) <= len(_FIELDS[kind]):
        return UnknownPiece(row)
    return kind(*row[1 : len(_FIELDS[kind]) + 1])
