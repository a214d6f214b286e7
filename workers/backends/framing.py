"""Splits the bytes of a stream into events, wherever the network cut the bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from openfall.workers.backends.exact_json import BOM, dumps, loads

_LINE_END = re.compile(rb"\r\n|(?<=\r)\r|\r(?=[\r\n:{]|(?:data|event|id|retry|error):)")
"""A carriage return that ends a line: what follows begins one. Any other one stands in a text whose server does not
escape it, and is escaped here."""
_UNDECIDED = re.compile(rb"\r(?:d(?:a(?:ta?)?)?|e(?:v(?:e(?:nt?)?)?|r(?:r(?:or?)?)?)?|id?|r(?:e(?:t(?:ry?)?)?)?)?\Z")
"""A carriage return at the end of a chunk. The next chunk decides what it is."""

_BEGINNINGS = (b"data:", b"event:", b":", b"id:", b"retry:", b"error:", b"\x1e")
"""How a stream begins."""

_CONTINUES = (b" ", b"\t", b'"', b"}", b"]", b"{", b"[")
"""How a line begins that continues an object of JSON."""

_BEFORE_A_LINE = b"\0\x1e"
"""Null bytes keep a connection open. A record separator begins each text of a JSON sequence (RFC 7464)."""

LINE_BYTES = 48
"""The memory of a line beside its bytes."""


class Framing(Protocol):
    """Where one event of a stream ends and the next begins."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that this chunk completes."""
        ...

    def end(self) -> Iterator[bytes]:
        """The last event of a stream whose server left out the terminator."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """The bytes of the event that is not complete yet."""
        ...


class _OpenLine:
    """A line that is not complete. It is joined once, however many parts it arrives in."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.bytes = 0

    def split(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete."""
        first, *lines = data.split(b"\n")
        self._add(first)
        if not lines:
            return []
        whole, last = b"".join(self._parts), lines.pop()
        self._parts, self.bytes = [], 0
        self._add(last)
        return [whole, *lines]

    def _add(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self.bytes += len(part) + LINE_BYTES


class SseFraming:
    """Server-sent events: the data of each, in order. An event ends with an empty line."""

    def __init__(self) -> None:
        self._line = _OpenLine()
        self._undecided = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._is_error = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        data, undecided = self._undecided + chunk, b""
        if b"\r" in data:
            last = data.rindex(b"\r")
            is_second = data[last - 1 : last] == b"\r"
            undecided = data[last:] if not is_second and _UNDECIDED.match(data, last) else b""
            data = data[: len(data) - len(undecided)] + b":"  # behind a carriage return that another one follows
            data = _LINE_END.sub(b"\n", data)[:-1].replace(b"\r", rb"\r")
        self._undecided = undecided
        lines = self._line.split(data)
        for line in lines:
            yield from self._add(line)

    def end(self) -> Iterator[bytes]:
        yield from self.feed(b"\n\n")

    @property
    def waiting_bytes(self) -> int:
        return self._line.bytes + len(self._undecided) + self._data_bytes

    def _add(self, line: bytes) -> Iterator[bytes]:
        if not line and self._data:
            yield self._end_event()
        line = line.lstrip(_BEFORE_A_LINE).removeprefix(BOM)
        field, _, value = line.partition(b":")
        field = field.strip().lower()
        if field == b"data":
            value = value.removeprefix(b" ")
            yield from self._add_data(value.removeprefix(b"data:").lstrip(b" ") if value[:5] == b"data:" else value)
        elif line.startswith((b"{", b"[DONE]")):  # some servers leave out `data:`
            yield from self._add_data(line)
        elif self._data and line.startswith(_CONTINUES) and self._data[0].startswith(b"{"):
            yield from self._add_data(line)  # and some write an object over several lines
        elif field == b"event":
            self._is_error = value.strip().lower() == b"error" or value.strip().lower().endswith(b"exception")
        elif field == b"error":  # older llama-servers write this in place of `data`
            yield from self._add_data(b'{"error":%b}' % value)

    def _add_data(self, value: bytes) -> Iterator[bytes]:
        """Some servers leave out the empty line between two objects."""
        if self._data and self._data[-1].endswith(b"}") and value.startswith((b"{", b"[DONE]")):
            yield self._end_event()
        self._data.append(value)
        self._data_bytes += len(value) + LINE_BYTES

    def _end_event(self) -> bytes:
        event, is_error = b"\n".join(self._data), self._is_error
        self._data, self._data_bytes, self._is_error = [], 0, False
        return _as_error(event) if is_error else event


def _as_error(data: bytes) -> bytes:
    """The data of an event named `error`, or for an exception (Bedrock's `throttlingException`), in a form that says so
    itself. Some servers send the words alone."""
    try:
        document = loads(data)
    except ValueError:
        return dumps({"error": data.decode(errors="replace")})
    if isinstance(document, dict) and ("error" in document or document.get("type") == "error"):
        return data
    return b'{"error":%b}' % data


def looks_like_events(body: bytes) -> bool:
    """Whether a body of any content type consists of server-sent events, or of a JSON sequence."""
    return body.removeprefix(BOM).lstrip().lower().startswith(_BEGINNINGS)


class NdjsonFraming:
    """NDJSON: every line that is not empty is an event."""

    def __init__(self) -> None:
        self._line = _OpenLine()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield from (line for line in map(bytes.strip, self._line.split(chunk)) if line)

    def end(self) -> Iterator[bytes]:
        yield from self.feed(b"\n")

    @property
    def waiting_bytes(self) -> int:
        return self._line.bytes
