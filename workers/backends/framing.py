"""Splits the bytes of a stream into events, wherever the network cut the bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from openfall.workers.backends.exact_json import BOM

_LINE_END = re.compile(rb"\r\n|\r(?=[\r\n:{]|(?:data|event|id|retry|error):)")
"""A carriage return that ends a line: what follows begins one. Any other one stands in a text whose server does not
escape it, and is escaped here."""
_UNDECIDED = re.compile(rb"\r(?:d(?:a(?:ta?)?)?|e(?:v(?:e(?:nt?)?)?|r(?:r(?:or?)?)?)?|id?|r(?:e(?:t(?:ry?)?)?)?)?\Z")
"""A carriage return at the end of a chunk. The next chunk decides what it is."""


class Framing(Protocol):
    """Where one event of a stream ends and the next begins."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that this chunk completes."""
        ...

    def end(self) -> Iterator[bytes]:
        """The last event of a stream whose server left out the terminator."""
        ...


class SseFraming:
    """Server-sent events: the data of each, in order. An event ends with an empty line."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._begun = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        data, undecided = self._rest + chunk, b""
        if b"\r" in data:
            last = data.rindex(b"\r")
            undecided = data[last:] if _UNDECIDED.match(data, last) else b""
            data = data[: len(data) - len(undecided)] + b":"  # behind a carriage return that another one follows
            data = _LINE_END.sub(b"\n", data)[:-1].replace(b"\r", rb"\r")
        *lines, self._rest = data.split(b"\n")
        self._rest += undecided
        for line in lines:
            yield from self._add(line if self._begun else line.removeprefix(BOM))
            self._begun = True

    def end(self) -> Iterator[bytes]:
        yield from self.feed(b"\n\n")

    def _add(self, line: bytes) -> Iterator[bytes]:
        if not line and self._data:
            yield b"\n".join(self._data)
            self._data = []
        field, _, value = line.partition(b":")
        if field == b"data":
            yield from self._add_data(value.removeprefix(b" "))
        elif line.startswith(b"{"):  # some servers leave out `data:`
            yield from self._add_data(line)
        elif field == b"error":  # older llama-servers write this in place of `data`
            self._data.append(b'{"error":%b}' % value)

    def _add_data(self, value: bytes) -> Iterator[bytes]:
        """Some servers leave out the empty line between two objects."""
        if self._data and self._data[-1].endswith(b"}") and value.startswith((b"{", b"[DONE]")):
            yield b"\n".join(self._data)
            self._data = []
        self._data.append(value)


def looks_like_events(body: bytes) -> bool:
    """Whether a body of any content type consists of server-sent events."""
    return body.removeprefix(BOM).lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:", b"error:"))


class NdjsonFraming:
    """NDJSON: every line that is not empty is an event."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        yield from (line for line in map(bytes.strip, lines) if line)

    def end(self) -> Iterator[bytes]:
        yield from self.feed(b"\n")
