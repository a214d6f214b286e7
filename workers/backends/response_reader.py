"""Reads a response within bounds, whole or event by event, and returns an outcome or a refusal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.stream_pieces import RawEvent
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.answer_bounds import (
    ANSWER_MEMORY,
    MAX_ANSWER_BYTES,
    MAX_STREAM_BYTES,
    AnswerTooLarge,
    KeptBytes,
)
from openfall.workers.backends.answer_formats import AnswerFormat, format_instead, recognize
from openfall.workers.backends.call_request import OnPieces
from openfall.workers.backends.decompression import Decompressor
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.event_adder import EventAdder
from openfall.workers.backends.exact_json import BOM, in_utf8
from openfall.workers.backends.framing import NdjsonFraming, SseFraming, looks_like_events
from openfall.workers.backends.loop_share import LoopShare
from openfall.workers.backends.parsing import parse_document
from openfall.workers.backends.plan_headers import read_plan_shares
from openfall.workers.backends.shortage_errors import raise_shortage
from openfall.workers.backends.stall_watch import CallWatch
from openfall.workers.backends.transport import BoundedHandler, read_available
from openfall.workers.backends.usage import usage_piece

EVENT_STREAM = "text/event-stream"
LINES = "application/x-ndjson"
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
MIN_BEGINNING = 6
"""The bytes that show whether a body begins with an event: `event:` is the longest of these beginnings."""

CHUNK_BYTES = 32 * 2**10
"""How much of a body is read at a time."""

MAX_REFUSAL_BYTES = 64 * 2**10
"""How much of an error's body is read. Every error fits; the rest of a web page is useless."""

REFUSAL_SECONDS = 5.0
"""How long an error's body is read. Its status has arrived before."""

QUIET_SECONDS = 0.5
"""An answer that is whole waits this long for the end of its response: some servers and proxies never send it."""

_REQUEST_FAULTS = frozenset({400, 405, 422, 501})
_NAMES_STREAM = re.compile(rb"\bstream(?:ing|ed|_options)?\b")
"""How the refusal of a server that cannot stream a model names the parameter, in its text or in a path."""


def is_success(response: aiohttp.ClientResponse) -> bool:
    """Whether the status is a 2xx: some servers answer a POST with a 201."""
    return 200 <= response.status < 300


@dataclass(slots=True)
class AnswerReader:
    """Reads the answer of one call. `watch` counts what arrives, and `on_pieces` gets its pieces.

    `wire` is the format of the endpoint. An answer in the format of another dialect replaces it.
    """

    wire: AnswerFormat
    watch: CallWatch
    on_pieces: OnPieces | None = None
    choices: int = 1
    """How many answers the request asks for."""
    content_type: str = field(default="", init=False)
    """Of the response that is read."""

    async def read(self, response: aiohttp.ClientResponse) -> Outcome:
        """The outcome of a response, streamed or not. Raises `aiohttp.ClientError` and `AnswerTooLarge`."""
        self.watch.plan_shares = read_plan_shares(response.headers) or self.watch.plan_shares
        self.content_type = response.headers.get("content-type", "")
        if not is_success(response):
            return await self._read_refusal(response)
        with ANSWER_MEMORY.reading() as kept:
            async with aclosing(_chunks(response, MAX_STREAM_BYTES)) as chunks:
                head = await _read_beginning(chunks, kept)
                if self._is_stream(head):
                    return await self._read_stream(head, chunks, kept)
                body, break_off = await _read_rest(head, chunks, kept)
            await LoopShare.await_step(len(body))
            body = in_utf8(body, self.content_type)
            outcome = self.wire.parse(body, response.headers)  # also from a server that cannot stream
            if _is_malformed(outcome):
                await LoopShare.await_step(len(body))
                if other := format_instead(self.wire.dialect, recognize(body)):
                    outcome = self.read_as(other).parse(body, response.headers)
            if break_off is not None and _is_malformed(outcome):
                raise break_off
            if _is_several(outcome, body):
                streamed = await self._read_stream(_in_lines(body), _no_chunks(), kept)
                return outcome if _is_malformed(streamed) and not self.watch.characters else streamed
        if self.on_pieces and isinstance(outcome, Completion):
            self.on_pieces((*pieces_of_answer(outcome.body, self.wire.dialect), usage_piece(outcome.usage)))
        return outcome

    def read_as(self, other: AnswerFormat) -> AnswerFormat:
        """Read the answer as one of another dialect, whose events are not those of the endpoint."""
        on_pieces, self.wire = self.on_pieces, other
        if on_pieces is not None:
            self.on_pieces = lambda pieces: on_pieces([piece for piece in pieces if not isinstance(piece, RawEvent)])
        return other

    def _is_stream(self, head: bytes) -> bool:
        """Whether the answer arrives in events. Its beginning says more than its content type: some servers and proxies
        send a stream as plain text, or a whole answer as a stream."""
        if looks_like_events(head):
            return True
        if self.content_type.startswith(LINES):
            return self.watch.needs_stream or self.on_pieces is not None
        return self.content_type.startswith(EVENT_STREAM) and head[:1] not in (b"{", b"[", b"<", b"")

    async def _read_refusal(self, response: aiohttp.ClientResponse) -> Failure:
        body = await _read_part(response)
        self.watch.stream_refused = response.status in _REQUEST_FAULTS and _NAMES_STREAM.search(body) is not None
        return classify(response.status, response.headers, body)

    async def _read_stream(self, head: bytes, chunks: AsyncGenerator[bytes, None], kept: KeptBytes) -> Outcome:
        """An answer in events. However the stream ends, the assembler decides whether it was a whole answer."""
        is_lines = head[:1] == b"[" or (self.wire.dialect == "ollama" and not looks_like_events(head))
        adder, framing = EventAdder(self, kept), NdjsonFraming() if is_lines else SseFraming()
        for start in range(0, len(head), CHUNK_BYTES):
            await adder.add(framing.feed(head[start : start + CHUNK_BYTES]))
        try:
            async for chunk in chunks:
                if adder.answer.ended:
                    return adder.end()
                adder.note_waiting(framing.waiting_bytes)
                await adder.add(framing.feed(chunk))
                if adder.is_over():
                    return adder.end()
        except aiohttp.ClientError as error:
            raise_shortage(error)
            return adder.end()
        await adder.add(framing.end())
        return adder.end()


async def read_json(response: aiohttp.ClientResponse) -> Any | Failure:
    """The JSON of a 2xx. Any other status is a failure. Raises `aiohttp.ClientError` and `AnswerTooLarge`."""
    if not is_success(response):
        return await _read_refusal(response)
    return parse_document(await _read_whole(response), response.headers)


async def read_liveness(response: aiohttp.ClientResponse) -> Failure | None:
    """None unless it is a server error: a 404 or a 401 is a sign of life too. Only an error's body is read."""
    return await _read_refusal(response) if response.status >= 500 else None


async def read_success(response: aiohttp.ClientResponse) -> Failure | None:
    """None for a 2xx, whose body is not read."""
    return None if is_success(response) else await _read_refusal(response)


async def _read_refusal(response: aiohttp.ClientResponse) -> Failure:
    """The failure that a refusal means."""
    return classify(response.status, response.headers, await _read_part(response))


async def _read_part(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a refusal's body. The status says the most, so a part is enough."""
    body = bytearray()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(REFUSAL_SECONDS), aclosing(_chunks(response, MAX_REFUSAL_BYTES)) as chunks:
                async for chunk in chunks:
                    body += chunk
    except (aiohttp.ClientError, AnswerTooLarge) as error:
        raise_shortage(error)
    return in_utf8(bytes(body), response.headers.get("content-type", ""))


async def _read_whole(response: aiohttp.ClientResponse) -> bytes:
    with ANSWER_MEMORY.reading() as kept:
        parts = []
        async for chunk in _chunks(response, MAX_ANSWER_BYTES):
            kept.take(len(chunk), MAX_ANSWER_BYTES)
            parts.append(chunk)
        return b"".join(parts)


async def _read_beginning(chunks: AsyncGenerator[bytes, None], kept: KeptBytes) -> bytes:
    """The body from its first word on, as far as it has arrived. Some servers send white space first, to keep the
    connection open."""
    head = b""
    async for chunk in chunks:
        kept.take(len(chunk), MAX_ANSWER_BYTES)
        head = (head + chunk).removeprefix(BOM).lstrip()
        if len(head) >= MIN_BEGINNING:
            break
    return head


async def _read_rest(
    head: bytes, chunks: AsyncGenerator[bytes, None], kept: KeptBytes
) -> tuple[bytes, aiohttp.ClientError | None]:
    """The whole body, and how its connection broke off. A JSON text that is whole ends by itself: a proxy may change
    a body and not the length that it names, or keep the connection open."""
    parts, is_examined = [head], False
    try:
        async for chunk in chunks:
            if not chunk and not is_examined and parts[-1].endswith(b"}"):  # a line of several ends with a line feed
                is_examined = True  # once: a server that sends slowly would have its bytes parsed again and again
                if isinstance(parse_document(b"".join(parts), {}), dict):
                    break
            kept.take(len(chunk), MAX_ANSWER_BYTES)
            parts.append(chunk)
    except aiohttp.ClientPayloadError as error:
        raise_shortage(error)
        return b"".join(parts), error
    return b"".join(parts), None


def _is_several(outcome: Outcome, body: bytes) -> bool:
    """Whether a body that is no answer may be lines of JSON, or a list: some servers stream without a request for it,
    and a proxy may have removed the content type."""
    return _is_malformed(outcome) and (body[:1] == b"[" or re.search(rb"[\r\n]", body.strip()) is not None)


def _in_lines(body: bytes) -> bytes:
    """A list is one event, however many lines it has."""
    return body.translate(_ONE_LINE) if body[:1] == b"[" else body


def _is_malformed(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.error_class is ErrorClass.MALFORMED


async def _no_chunks() -> AsyncGenerator[bytes, None]:
    return
    yield


async def _chunks(response: aiohttp.ClientResponse, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, decompressed, in parts of `CHUNK_BYTES`; an empty part after each quiet time.
    `AnswerTooLarge` past `limit` bytes."""
    size, loop_share = 0, LoopShare()
    decompressor = Decompressor(response.headers.get("content-encoding", ""))
    async for chunk in _arriving(response.content):
        if not chunk:
            yield b""
        loop_share.begin()
        loop_share.charge(_take_parsing_seconds(response))
        for part in decompressor.feed(chunk):
            loop_share.pause()
            loop_share.begin()
            if loop_share.is_over():
                await loop_share.rest()
            size += len(part)
            if size > limit:
                raise AnswerTooLarge(f"the answer is longer than {limit / 2**20:g} MiB")
            for start in range(0, len(part), CHUNK_BYTES):
                yield part[start : start + CHUNK_BYTES]
            loop_share.begin()
    for part in decompressor.end():
        yield part


def _take_parsing_seconds(response: aiohttp.ClientResponse) -> float:
    """The time that the connection has used to parse what is read now. A response that has ended has none."""
    connection = response.connection and response.connection.protocol
    return connection.take_parsing_seconds() if isinstance(connection, BoundedHandler) else 0.0


async def _arriving(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """The bytes of a body as they arrive; none after each `QUIET_SECONDS` in which nothing arrives."""
    while True:
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                data = await read_available(content)
        except TimeoutError:
            yield b""
            continue
        if not data:
            return
        yield data
