"""Assembles the events of a stream into the answer that the same call would give without a stream."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson

from openfall.router_core.jobs.json_bounds import JsonTooLarge
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_pieces import GrowingPiece, Piece, RawEvent, SignaturePiece, ToolStart, same_text
from openfall.router_core.jobs.token_usage import NO_USAGE
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_body import find_error
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.exact_json import ends_in_half, loads, mend, mend_text
from openfall.workers.backends.parsing import malformed, with_usage

_OF_OBJECT = re.compile(rb'[{}"]')


def parse_event(event: bytes) -> list[dict[str, Any]] | Failure:
    """The JSON object of one event of a stream, or those of a list. An error inside it is a failure. None at all: the
    event is no part of the protocol, such as a `null` or a word that keeps a connection open. What may be a part of an
    object is a failure."""
    try:
        document = loads(event, halves=True)
    except JsonTooLarge as error:
        return malformed(f"an event of the stream {error}")
    except ValueError:
        return malformed("an event of the stream is not JSON") if _OF_OBJECT.search(event) else []
    parts = document if isinstance(document, list) else [document]
    objects = [part for part in parts if isinstance(part, dict)]
    if any(map(find_error, objects)):
        return classify(200, {}, event)
    return objects


class StreamAssembler:
    """The assembly of one stream. A dialect adds how an event extends the answer."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.done = False
        self._halves: dict[Any, str] = {}
        """By text, half a character at its end so far: its next piece may begin with the other half."""
        self.characters = 0
        """The generated characters so far: of the text, the reasoning and the tool calls."""
        self.usage = NO_USAGE
        """What the provider counted for the whole answer. It stays unknown while only a part was counted."""

    @property
    def ended(self) -> bool:
        """Whether later events no longer matter."""
        return self.done or self.failure is not None

    @property
    def finished_choices(self) -> int:
        """How many choices have their finish reason. Only the usage may follow the last one."""
        return 0

    def add(self, event: bytes) -> list[Piece]:
        """Add one event. Returns the pieces that it adds to the answer. Not called again once `ended`."""
        objects = parse_event(event)
        if isinstance(objects, Failure):
            self.failure = objects
            return []
        return [self._without_halves(piece) for fields in objects for piece in self._add(fields)]

    def outcome(self) -> Outcome:
        """The outcome once the stream has ended. A stream that was cut short is a failure. An answer that has ended is
        whole, whatever unreadable event follows it."""
        if self.failure is None or self.failure.error_class is not ErrorClass.MALFORMED:
            return with_usage(self.failure or self._assemble(), self.usage)
        answer = self._assemble()
        return answer if isinstance(answer, Completion) else with_usage(self.failure, self.usage)

    def _without_halves(self, piece: Piece) -> Piece:
        """The piece with the half before it, and without the half at its end."""
        if isinstance(piece, RawEvent):
            return replace(piece, event=mend(piece.event))
        if isinstance(piece, ToolStart):
            return replace(piece, id=mend_text(piece.id), name=mend_text(piece.name))
        if isinstance(piece, SignaturePiece):
            return replace(piece, text=mend_text(piece.text))
        if not isinstance(piece, GrowingPiece):
            return piece
        text = piece.text
        if self._halves and (half := self._halves.pop(same_text(piece), "")):
            text = half + text
        if ends_in_half(text):
            self._halves[same_text(piece)] = text[-1]
            text = text[:-1]
        text = mend_text(text)
        return piece if text is piece.text else replace(piece, text=text)

    def _mended(self, document: dict[str, Any]) -> dict[str, Any]:
        """The assembled document, without half characters."""
        try:
            orjson.dumps(document)
        except TypeError:  # half a character, or an integer above 64 bits
            whole: dict[str, Any] = mend(document)
            return whole
        return document

    def _add(self, fields: dict[str, Any]) -> list[Piece]:
        raise NotImplementedError

    def _assemble(self) -> Outcome:
        raise NotImplementedError
