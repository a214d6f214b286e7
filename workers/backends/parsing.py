"""The parsing of answers that all dialects share: malformed answers, and the assembly of streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_mapping import classify, find_error


def malformed(detail: str) -> Failure:
    """The failure of an upstream that responded with something other than an answer."""
    return Failure(error_class=ErrorClass.MALFORMED, detail=detail)


def parse_document(body: bytes, headers: Mapping[str, str]) -> Any | Failure:
    """The JSON of a 200's body. An error inside it is a failure."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        failure = classify(200, headers, body)
        return failure if failure.error_class is ErrorClass.FORBIDDEN else malformed("the answer is not JSON")
    return classify(200, headers, body) if find_error(document) else document


def parse_event(event: bytes) -> dict[str, Any] | Failure:
    """The JSON object of one event of a stream. An error inside it is a failure."""
    try:
        document = orjson.loads(event)
    except orjson.JSONDecodeError:
        return malformed("an event of the stream is not JSON")
    if find_error(document):
        return classify(200, {}, event)
    return document if isinstance(document, dict) else malformed("an event of the stream is not an object")


def append_text(text: Any, piece: str) -> str:
    """A text with its next piece. A value that is not a text is replaced."""
    return text + piece if isinstance(text, str) else piece


def token_count(usage: Any, name: str) -> int | None:
    """The number of tokens under that name; None if there is none."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count >= 0 else None


def parse_names(document: Any | Failure, under: str, key: str) -> tuple[str, ...] | Failure:
    """The names in a list of models, such as the `id` of each entry `under` `data`."""
    if isinstance(document, Failure):
        return document
    entries = document.get(under) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return malformed("the list of models has no models")
    return tuple(entry[key] for entry in entries if isinstance(entry, dict) and isinstance(entry.get(key), str))


class StreamAssembler:
    """Assembles the events of one stream into the answer that the same call would give without a stream."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.done = False

    @property
    def ended(self) -> bool:
        """Whether later events no longer matter."""
        return self.done or self.failure is not None

    def add(self, event: bytes) -> str:
        """Add one event. Returns the text that it adds to the answer. Not called again once `ended`."""
        fields = parse_event(event)
        if isinstance(fields, Failure):
            self.failure = fields
            return ""
        return self._add(fields)

    def outcome(self) -> Outcome:
        """The outcome once the stream has ended. A stream that was cut short is a failure."""
        return self.failure or self._assemble()

    def _add(self, fields: dict[str, Any]) -> str:
        raise NotImplementedError

    def _assemble(self) -> Outcome:
        raise NotImplementedError
