"""What every dialect's answers have in common: what makes one unreadable, and how its pieces are put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from openfall.router_core.jobs.outcome import (
    Failure,
    Outcome,
)
from openfall.router_core.vocabulary import (
    ErrorClass,
)
from openfall.workers.backends.error_mapping import classify, find_error


class StreamAssembler(Protocol):
    """The events of one stream, put together to what the same call without a stream would have given."""

    @property
    def ended(self) -> bool:
        """Nothing that may still arrive matters."""
        ...

    def add(self, event: bytes) -> str:
        """Take one event; the text that it adds to the answer. Not called again once it has ended."""
        ...

    def outcome(self) -> Outcome:
        """What the stream came to, once it has ended in whatever way: cut short it is a failure."""
        ...


def malformed(detail: str) -> Failure:
    """The upstream said something, and it was no answer."""
    return Failure(error_class=ErrorClass.MALFORMED, detail=detail)


def parse_document(body: bytes, headers: Mapping[str, str]) -> Any | Failure:
    """The JSON of a 200's body. An error inside it is a failure."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return malformed("the answer is no JSON")
    return classify(200, headers, body) if find_error(document) else document


def parse_event(event: bytes) -> dict[str, Any] | Failure:
    """The JSON object of one event of a stream. An error inside it is a failure."""
    try:
        told = orjson.loads(event)
    except orjson.JSONDecodeError:
        return malformed("an event of the stream is no JSON")
    if find_error(told):
        return classify(200, {}, event)
    return told if isinstance(told, dict) else malformed("an event of the stream is no object")


def append_text(before: Any, more: str) -> str:
    """A text with its next piece. What stood there and was none is gone."""
    return before + more if isinstance(before, str) else more


def token_count(usage: Any, name: str) -> int | None:
    """A number of tokens under that name; None: not told."""
    told = usage.get(name) if isinstance(usage, dict) else None
    return told if isinstance(told, int) and told >= 0 else None


def parse_names(document: Any | Failure, under: str, key: str) -> tuple[str, ...] | Failure:
    """The names in a list of models, such as the `id` of each entry `under` `data`."""
    if isinstance(document, Failure):
        return document
    listed = document.get(under) if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return malformed("the list of models has no models")
    return tuple(entry[key] for entry in listed if isinstance(entry, dict) and isinstance(entry.get(key), str))
