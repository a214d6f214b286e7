"""A connection to the gateway: its head is bounded in bytes and time, and it knows whether its caller has left, or has
not read its response."""

from __future__ import annotations

import asyncio
import logging
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_CONNECTIONS = 10_000
"""Of one process."""
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 1_000
"""Of one request. Each takes 3 µs, and 64 KiB have room for 16,000."""
MAX_PIPELINED = 100
"""Requests of one connection that wait for the end of its first."""
MAX_FRAMING_BYTES = 64 * 1024
"""What a body may have beside its bytes: sizes and extensions of chunks, trailers."""
FRAMING_PER_BYTE = 8
"""And what it may have more for each of its bytes: a chunk of one byte has 5 beside it."""
PARSED_BYTES = 8 * 1024
"""What is parsed at a time: a connection that is refused parses no more than the rest of this."""
SLICE_SECONDS = 0.002
READING_SHARE = 0.2
"""The share of the event loop that all connections together get whose bytes take longer than a slice to parse.
Meanwhile their bytes stay in the sockets, so their callers wait."""
HEAD_SECONDS = 30.0
"""How long the head of a request may take to arrive: a connection that sends none is closed."""

log = logging.getLogger("openfall.gateway")

_TLS_RECORD = b"\x16\x03"
"""The first bytes of a client that speaks TLS."""

EXTENSION = "openfall.connection"
"""In the scope of a request, where the system can say whether a caller has hung up."""
_HANG_UP = getattr(select, "POLLRDHUP", 0)


class HttpConnection(HttpToolsProtocol):
    """uvicorn's connection with limits of its own: it has none for what sends no request, or no end of a head."""

    _reading_until = 0.0
    """Of all connections of this process: when the time ends that is booked for their parsing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.headers = []
        self._head_bytes = 0
        self._head_is_due: asyncio.TimerHandle | None = None
        self._on_unread: Callable[[], None] | None = None
        self._was_reset = False
        self._poll: select.poll | None = None
        self._repeats_head = False
        """The parser reads the head of a request a second time."""
        self._is_in_body = False
        self._is_framing_counted = False
        """Whether the bytes that are parsed now belong to one body."""
        self._framing_bytes = self._body_bytes = 0
        self._body_parts: list[bytes] = []
        self._parsing_seconds = 0.0
        self._is_held = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(b"503 Service Unavailable", b"retry-after: 1\r\n")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        is_sent = self.cycle is None or self.cycle.response_complete
        super().connection_lost(exc)
        if self._on_unread is not None and (not is_sent or self._was_reset or isinstance(exc, ConnectionError)):
            self._on_unread()
        self._on_unread = None

    def eof_received(self) -> None:
        self._was_reset = self._polls(select.POLLERR)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        began, self._is_framing_counted, body_bytes = time.thread_time(), self._is_in_body, self._body_bytes
        for start in range(0, len(data), PARSED_BYTES):
            part = rest = data[start : start + PARSED_BYTES]
            while rest and not self.transport.is_closing():
                rest = self._parse(rest)
            if self._head_is_due is not None:
                self._head_bytes += len(part)
                if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                    self._refuse(b"431 Request Header Fields Too Large")
        self._give_body()
        if self._head_is_due is None and self._is_framing_counted:
            self._framing_bytes += len(data) - (self._body_bytes - body_bytes)
            if self._framing_bytes > MAX_FRAMING_BYTES + FRAMING_PER_BYTE * self._body_bytes:
                self._refuse(b"431 Request Header Fields Too Large")
        self._parsing_seconds += time.thread_time() - began
        if self._parsing_seconds > SLICE_SECONDS or self._is_held:
            self._hold()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_body and len(self.headers) <= MAX_HEADERS:  # else it is a trailer, which nothing reads
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._body_parts.append(body)

    def _give_body(self) -> None:
        """Give what has arrived of a body to its reader, at once: of tiny chunks each would copy all before it."""
        if self._body_parts:
            body, self._body_parts = b"".join(self._body_parts), []
            super().on_body(body)

    def _hold(self) -> None:
        """Read nothing until the share of all such connections allows it."""
        used, self._parsing_seconds = self._parsing_seconds, 0.0
        now = self.loop.time()
        HttpConnection._reading_until = max(now, HttpConnection._reading_until) + used / READING_SHARE
        self.transport.pause_reading()  # also if the reader of a body has let it go on meanwhile
        if not self._is_held:
            self._is_held = True
            self.loop.call_at(HttpConnection._reading_until, self._release)

    def _release(self) -> None:
        self._is_held = False
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _parse(self, data: bytes) -> bytes:
        """Read bytes. What is left of them is to be read again."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse_bytes(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade()
            return data[upgrade.args[0] :]
        return b""

    def _refuse_bytes(self, data: bytes) -> None:
        speaks_tls = data.startswith(_TLS_RECORD)
        why = "a client sends https: give it a URL with http://" if speaks_tls else "a request is no HTTP/1.1"
        log.warning("%s", why)
        self.send_400_response(f"This is no HTTP/1.1 request: {why}." if speaks_tls else "This is no HTTP/1.1 request.")

    def _decline_upgrade(self) -> None:
        """Read a request that asks for another protocol as any other one. Java's HTTP client asks for HTTP/2 with its
        first request; the parser takes its body for bytes of the other protocol."""
        framing = [pair for pair in self.headers if pair[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join([b"POST / HTTP/1.1\r\n", *(b"%b: %b\r\n" % pair for pair in framing), b"\r\n"])
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._repeats_head = True
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserError:  # an end that the first parser did not look for
            self._refuse_bytes(head)
        self._repeats_head = False

    def on_message_complete(self) -> None:
        self._is_in_body = False
        self._give_body()
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_body = self._is_framing_counted = False
        self._framing_bytes, self._body_bytes, self._parsing_seconds = 0, 0, 0.0
        self._on_unread = None  # the caller has read the response before
        if self._head_is_due is None:
            self._await_head()
        if _HANG_UP:
            self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._is_in_body = True
        if self._repeats_head or self.transport.is_closing():
            return
        if len(self.headers) > MAX_HEADERS:
            self._refuse(b"431 Request Header Fields Too Large")
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self.pipeline.clear()
            self._refuse(b"429 Too Many Requests")
            return
        super().on_headers_complete()

    def has_hung_up(self) -> bool:
        """Whether the caller has closed its side, although what it sent before has not all been read."""
        return bool(self.transport.is_closing()) or self._polls(_HANG_UP)

    def watch_response(self, on_unread: Callable[[], None]) -> None:
        """Call `on_unread` if the caller ends before it has read the response that is sent next.

        The system of the caller says so: it resets a connection that is closed with unread bytes, or that gets bytes
        when it is closed.
        """
        self._on_unread = on_unread

    def _polls(self, event: int) -> bool:
        if self._poll is None:
            own = self.transport.get_extra_info("socket")
            if own is None or own.fileno() < 0:
                return False
            self._poll = select.poll()
            self._poll.register(own.fileno(), _HANG_UP)  # an error is reported too
        return any(happened & event for _, happened in self._poll.poll(0))

    def _await_head(self) -> None:
        self._stop_waiting()
        self._head_is_due = self.loop.call_later(HEAD_SECONDS, self._refuse, b"408 Request Timeout")

    def _stop_waiting(self) -> None:
        self._head_bytes = 0
        if self._head_is_due is not None:
            self._head_is_due.cancel()
            self._head_is_due = None

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        self._stop_waiting()
        is_answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        with suppress(OSError, RuntimeError):
            if not is_answered:  # else it would stand in the middle of a response
                head = b"HTTP/1.1 %b\r\n%bcontent-length: 0\r\nconnection: close\r\n\r\n"
                self.transport.write(head % (status, headers))
        self.transport.close()
