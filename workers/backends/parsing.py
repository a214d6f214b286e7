"""The parsing of answers that all dialects share: malformed answers, and the assembly of streams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

import orjson

from openfall.router_core.jobs.json_bounds import JsonTooLarge
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.stream_pieces import GrowingPiece, Piece, RawEvent, SignaturePiece, ToolStart, same_text
from openfall.router_core.jobs.token_usage import NO_USAGE, Usage
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_response import classify, find_error
from openfall.workers.backends.exact_json import ends_in_half, loads, loads_answer, mend, mend_text, whole_number

TEXT_PARTS = ("text", "output_text", "input_text")
"""The types of a part that is a written text."""

_LISTS = {"data": ("id", "name", "model"), "models": ("name", "id", "model"), "result": ("name", "id")}
"""Where a list of models has its entries, and by that where an entry has its name."""

_OF_OBJECT = re.compile(rb'[{}"]')


def malformed(detail: str) -> Failure:
    """The failure of an upstream that responded with something other than an answer."""
    return Failure(error_class=ErrorClass.MALFORMED, detail=detail)


def parse_document(body: bytes, headers: Mapping[str, str]) -> Any | Failure:
    """The JSON of a 200's body. An error inside it is a failure."""
    try:
        document = loads_answer(body)
    except JsonTooLarge as error:
        return malformed(f"the answer {error}")
    except ValueError:
        failure = classify(200, headers, body)
        return failure if failure.error_class is ErrorClass.FORBIDDEN else malformed("the answer is not JSON")
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    return classify(200, headers, body) if find_error(document) else document


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


def content_text(content: Any) -> str:
    """The text of a content: a string, a part, or a list of them. Parts without text (images, reasoning) have none."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        text = content.get("text")
        return text if isinstance(text, str) and content.get("type", "text") in TEXT_PARTS else ""
    return "".join(map(content_text, content)) if isinstance(content, list) else ""


def append_text(text: Any, piece: str) -> str:
    """A text with its next piece. A value that is not a text is replaced."""
    return text + piece if isinstance(text, str) else piece


MAX_CALL_TOKENS = 10**9
"""A call has fewer: a larger number would fill every budget that counts the call."""


def token_count(usage: Any, name: str) -> int | None:
    """The number of tokens under that name; None if there is none. A number that no call can have is none."""
    count = whole_number(usage.get(name)) if isinstance(usage, dict) else None
    return count if count is None or count <= MAX_CALL_TOKENS else None


def parse_gigabytes(value: Any) -> float | None:
    """The memory of a model. None: it is no amount of memory."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < inf else None


def parse_names(document: Any | Failure) -> tuple[str, ...] | Failure:
    """The names in a list of models, in the forms that servers use: `{"data": [{"id": ...}]}` (OpenAI), `{"models":
    [{"name": ...}]}` (Ollama, Gemini), a bare list (Together), `result` (Cloudflare), names alone or as keys."""
    if isinstance(document, Failure):
        return document
    fields = document if isinstance(document, dict) else {"data": document}
    place = next((name for name in _LISTS if isinstance(fields.get(name), list | dict)), None)
    if place is None:
        return malformed("the list of models has no models")
    return tuple(name for entry in fields[place] for name in _names_of(entry, _LISTS[place]))


def _names_of(entry: Any, keys: tuple[str, ...]) -> list[str]:
    """The name of a model in a list, and the further names that a request may use."""
    if isinstance(entry, str):
        return [entry]
    if not isinstance(entry, dict):
        return []
    name = next((name for key in keys if isinstance(name := entry.get(key), str)), None)
    others = entry.get("aliases")
    names = [name, *(others if isinstance(others, list) else ())]
    return [name for name in names if isinstance(name, str)]


def with_usage(outcome: Outcome, usage: Usage) -> Outcome:
    """The outcome with what its provider counted: a refusal and a filtered answer are paid for, too."""
    return outcome if outcome.usage is not NO_USAGE or usage == NO_USAGE else replace(outcome, usage=usage)


class StreamAssembler:
    """Assembles the events of one stream into the answer that the same call would give without a stream."""

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
