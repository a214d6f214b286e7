"""Reads a response within bounds, whole or event by event, and returns an outcome or a refusal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.workers.backends.base import OnDelta
from openfall.workers.backends.error_mapping import classify
from openfall.workers.backends.framing import Framing
from openfall.workers.backends.parsing import StreamAssembler, parse_document

MAX_ANSWER_BYTES = 32 * 2**20
"""The longest answers of today's models are under 1 MiB. A longer body than this is not an answer."""

MAX_REFUSAL_BYTES = 64 * 2**10
"""How much of an error's body is read. Every error fits; the rest of a web page is useless."""


class ResponseTooLong(Exception):
    """The body is longer than the limit of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """How a dialect's answers arrive: whole, or as a stream of the content type `stream_type`.

    `parse` returns the outcome of a 200's whole body.
    """

    stream_type: str
    framing: Callable[[], Framing]
    assembler: Callable[[], StreamAssembler]
    parse: Callable[[bytes, Mapping[str, str]], Outcome]


def is_success(response: aiohttp.ClientResponse) -> bool:
    """Whether the status is a 2xx: some servers answer a POST with a 201."""
    return 200 <= response.status < 300


async def read_answer(response: aiohttp.ClientResponse, wire: ResponseFormat, on_delta: OnDelta | None) -> Outcome:
    """The outcome of a response, streamed or not. Raises `aiohttp.ClientError` and `ResponseTooLong`."""
    if not is_success(response):
        return await _read_refusal(response)
    if on_delta and response.headers.get("content-type", "").startswith(wire.stream_type):
        return await _read_stream(response, wire, on_delta)
    outcome = wire.parse(await _read_whole(response), response.headers)  # also from a server that cannot stream
    if on_delta and not isinstance(outcome, Failure):
        on_delta(outcome.text)
    return outcome


async def read_json(response: aiohttp.ClientResponse) -> Any | Failure:
    """The JSON of a 2xx. Any other status is a failure. Raises `aiohttp.ClientError` and `ResponseTooLong`."""
    if not is_success(response):
        return await _read_refusal(response)
    return parse_document(await _read_whole(response), response.headers)


async def read_liveness(response: aiohttp.ClientResponse) -> Failure | None:
    """None unless it is a server error: a 404 or a 401 is a sign of life too. Only an error's body is read."""
    return await _read_refusal(response) if response.status >= 500 else None


async def _read_refusal(response: aiohttp.ClientResponse) -> Failure:
    """The failure that a refusal means. The status says the most, so a part of the body is enough."""
    body = bytearray()
    try:
        async for chunk in _chunks(response, MAX_REFUSAL_BYTES):
            body += chunk
    except (aiohttp.ClientError, ResponseTooLong):
        pass
    return classify(response.status, response.headers, bytes(body))


async def _read_whole(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([chunk async for chunk in _chunks(response, MAX_ANSWER_BYTES)])


async def _chunks(response: aiohttp.ClientResponse, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, decompressed. `ResponseTooLong` past `limit` bytes."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise ResponseTooLong(f"the answer is longer than {limit / 2**20:g} MiB")
        yield chunk


async def _read_stream(response: aiohttp.ClientResponse, wire: ResponseFormat, on_delta: OnDelta) -> Outcome:
    """A 200 in events. However the stream ends, the assembler decides whether it was a whole answer."""
    answer, framing = wire.assembler(), wire.framing()

    def add(event: bytes) -> None:
        if not answer.ended and (text := answer.add(event)):
            on_delta(text)

    try:
        async with aclosing(_chunks(response, MAX_ANSWER_BYTES)) as chunks:
            async for chunk in chunks:
                for event in framing.feed(chunk):
                    add(event)
                if answer.ended:
                    return answer.outcome()
    except aiohttp.ClientError:
        return answer.outcome()
    for event in framing.end():
        add(event)
    return answer.outcome()
