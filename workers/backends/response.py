"""Reads a response within bounds, whole or event by event, and returns an outcome or a refusal."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.pieces import text_of
from openfall.router_core.jobs.pieces_of_answer import pieces_of_answer
from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.base import OnPieces
from openfall.workers.backends.call_watch import CallWatch
from openfall.workers.backends.error_mapping import classify
from openfall.workers.backends.exact_json import BOM
from openfall.workers.backends.framing import Framing, looks_like_events
from openfall.workers.backends.parsing import StreamAssembler, parse_document
from openfall.workers.backends.usage import usage_of

MAX_ANSWER_BYTES = 32 * 2**20
"""The longest answers of today's models are under 1 MiB. A longer body than this is not an answer."""

EVENT_STREAM = "text/event-stream"
MIN_BEGINNING = 6
"""The bytes that show whether a body begins with an event: `event:` is the longest of these beginnings."""

MAX_REFUSAL_BYTES = 64 * 2**10
"""How much of an error's body is read. Every error fits; the rest of a web page is useless."""


_REQUEST_FAULTS = frozenset({400, 422})
_NAMES_STREAM = re.compile(rb"\bstream(?:ing|ed|_options)?\b")
"""How the refusal of a server that cannot stream a model names the parameter, in its text or in a path."""


class ResponseTooLong(Exception):
    """The body is longer than the limit of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """How a dialect's answers arrive: whole, or as a stream of the content type `stream_type`.

    `parse` returns the outcome of a 200's whole body.
    """

    dialect: Dialect
    stream_type: str
    framing: Callable[[], Framing]
    assembler: Callable[[], StreamAssembler]
    parse: Callable[[bytes, Mapping[str, str]], Outcome]


def is_success(response: aiohttp.ClientResponse) -> bool:
    """Whether the status is a 2xx: some servers answer a POST with a 201."""
    return 200 <= response.status < 300


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Reads the answer of one call. `watch` counts what arrives, and `on_pieces` gets its pieces."""

    wire: ResponseFormat
    watch: CallWatch
    on_pieces: OnPieces | None = None

    async def read(self, response: aiohttp.ClientResponse) -> Outcome:
        """The outcome of a response, streamed or not. Raises `aiohttp.ClientError` and `ResponseTooLong`."""
        if not is_success(response):
            return await self._read_refusal(response)
        async with aclosing(_chunks(response, MAX_ANSWER_BYTES)) as chunks:
            head = await _read_beginning(chunks)
            if self._is_stream(response, head):
                return await self._read_stream(head, chunks)
            body = head + b"".join([chunk async for chunk in chunks])
        outcome = self.wire.parse(body, response.headers)  # also from a server that cannot stream
        if self.on_pieces and isinstance(outcome, Completion):
            self.on_pieces((*pieces_of_answer(outcome.body, self.wire.dialect), usage_of(outcome)))
        return outcome

    def _is_stream(self, response: aiohttp.ClientResponse, head: bytes) -> bool:
        """Whether the answer arrives in events. Its beginning says more than its content type: some servers and proxies
        send a stream as plain text, or a whole answer as a stream."""
        if self.wire.stream_type == EVENT_STREAM:
            return looks_like_events(head)
        requested = self.watch.needs_stream or self.on_pieces is not None
        return requested and response.headers.get("content-type", "").startswith(self.wire.stream_type)

    async def _read_refusal(self, response: aiohttp.ClientResponse) -> Failure:
        body = await _read_part(response)
        self.watch.stream_refused = response.status in _REQUEST_FAULTS and _NAMES_STREAM.search(body) is not None
        return classify(response.status, response.headers, body)

    async def _read_stream(self, head: bytes, chunks: AsyncGenerator[bytes, None]) -> Outcome:
        """An answer in events. However the stream ends, the assembler decides whether it was a whole answer."""
        answer, framing = self.wire.assembler(), self.wire.framing()
        self._add(answer, framing.feed(head))
        try:
            async for chunk in chunks:
                if answer.ended:
                    return answer.outcome()
                self._add(answer, framing.feed(chunk))
        except aiohttp.ClientError:
            return answer.outcome()
        self._add(answer, framing.end())
        return answer.outcome()

    def _add(self, answer: StreamAssembler, events: Iterable[bytes]) -> None:
        for event in events:
            if answer.ended:
                return
            pieces = answer.add(event)
            self.watch.count(answer.characters, text_of(pieces))
            if pieces and self.on_pieces:
                self.on_pieces(pieces)


async def read_json(response: aiohttp.ClientResponse) -> Any | Failure:
    """The JSON of a 2xx. Any other status is a failure. Raises `aiohttp.ClientError` and `ResponseTooLong`."""
    if not is_success(response):
        return await _read_refusal(response)
    return parse_document(await _read_whole(response), response.headers)


async def read_liveness(response: aiohttp.ClientResponse) -> Failure | None:
    """None unless it is a server error: a 404 or a 401 is a sign of life too. Only an error's body is read."""
    return await _read_refusal(response) if response.status >= 500 else None


async def _read_refusal(response: aiohttp.ClientResponse) -> Failure:
    """The failure that a refusal means."""
    return classify(response.status, response.headers, await _read_part(response))


async def _read_part(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a refusal's body. The status says the most, so a part is enough."""
    body = bytearray()
    try:
        async for chunk in _chunks(response, MAX_REFUSAL_BYTES):
            body += chunk
    except (aiohttp.ClientError, ResponseTooLong):
        pass
    return bytes(body)


async def _read_whole(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([chunk async for chunk in _chunks(response, MAX_ANSWER_BYTES)])


async def _read_beginning(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The body up to its first word, with whatever arrived beside it. Some servers send white space first, to keep the
    connection open."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head.removeprefix(BOM).lstrip()) >= MIN_BEGINNING:
            break
    return head


async def _chunks(response: aiohttp.ClientResponse, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, decompressed. `ResponseTooLong` past `limit` bytes."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise ResponseTooLong(f"the answer is longer than {limit / 2**20:g} MiB")
        yield chunk
