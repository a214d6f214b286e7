"""Splits the bytes of a stream into events, wherever the network cut the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


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

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._add(line.rstrip(b"\r"))

    def end(self) -> Iterator[bytes]:
        yield from self.feed(b"\n\n")

    def _add(self, line: bytes) -> Iterator[bytes]:
        if not line and self._data:
            yield b"\n".join(self._data)
            self._data = []
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field == b"error":  # older llama-servers write this in place of `data`
            self._data.append(b'{"error":%b}' % value)


class NdjsonFraming:
    """NDJSON: every line that is not empty is an event."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        yield from (line for line in map(bytes.strip, lines) if line)

    def end(self) -> Iterator[bytes]:
        yield from self.feed(b"\n")
