"""A response, read within bounds: whole or event by event, as an outcome or as a refusal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.workers.backends.base import OnDelta
from openfall.workers.backends.error_mapping import classify
from openfall.workers.backends.framing import Framing
from openfall.workers.backends.parsing import Assembly, read_document

MAX_ANSWER = 32 * 2**20
"""Bytes. The longest answers of today's models are under 1 MiB; what is longer than this is not an answer."""

MAX_REFUSAL = 64 * 2**10
"""Bytes of an error's body that are read. Enough for every error; the rest of a web page tells nothing."""


class ResponseTooLong(Exception):
    """The answer is longer than `MAX_ANSWER`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How a dialect's answers arrive: whole, or as a stream of that content type."""

    stream_type: str
    framing: Callable[[], Framing]
    assembly: Callable[[], Assembly]
    read: Callable[[bytes, Mapping[str, str]], Outcome]
    """The outcome of a 200's whole body."""


async def read_answer(response: httpx.Response, wire: Wire, on_delta: OnDelta | None) -> Outcome:
    """The outcome of a response, streamed or not. Raises `httpx.RequestError` and `TooLong`."""
    if response.status_code != 200:
        return await _refusal(response)
    if on_delta and response.headers.get("content-type", "").startswith(wire.stream_type):
        return await _read_stream(response, wire, on_delta)
    outcome = wire.read(await _whole(response), response.headers)  # also what a server sends that cannot stream
    if on_delta and not isinstance(outcome, Failure):
        on_delta(outcome.text)
    return outcome


async def read_json(response: httpx.Response) -> Any | Failure:
    """The JSON of a 200; any other status is a failure. Raises `httpx.RequestError` and `TooLong`."""
    if response.status_code != 200:
        return await _refusal(response)
    return read_document(await _whole(response), response.headers)


async def read_life(response: httpx.Response) -> Failure | None:
    """None for all but a server's own errors: a 404 or a 401 is a sign of life too. No body but theirs is read."""
    return await _refusal(response) if response.status_code >= 500 else None


async def _refusal(response: httpx.Response) -> Failure:
    """What a refusal means, by what there is of its body. Its status has told the most already."""
    read = bytearray()
    try:
        async for chunk in _chunks(response, MAX_REFUSAL):
            read += chunk
    except (httpx.RequestError, ResponseTooLong):
        pass
    return classify(response.status_code, response.headers, bytes(read))


async def _whole(response: httpx.Response) -> bytes:
    return b"".join([chunk async for chunk in _chunks(response, MAX_ANSWER)])


async def _chunks(response: httpx.Response, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives; `TooLong` past `limit` bytes."""
    stream = response.aiter_bytes() if "content-encoding" in response.headers else response.stream
    assert not isinstance(stream, httpx.SyncByteStream) or isinstance(stream, httpx.AsyncByteStream)
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise ResponseTooLong
        yield chunk


async def _read_stream(response: httpx.Response, wire: Wire, on_delta: OnDelta) -> Outcome:
    """A 200 in events. Whether what arrived is a whole answer is for the assembly to say, however the stream ended."""
    answer, framing = wire.assembly(), wire.framing()

    def take(event: bytes) -> None:
        if not answer.ended and (text := answer.take(event)):
            on_delta(text)

    try:
        async with aclosing(_chunks(response, MAX_ANSWER)) as chunks:
            async for chunk in chunks:
                for event in framing.feed(chunk):
                    take(event)
                if answer.ended:
                    return answer.outcome()
    except httpx.RequestError:
        return answer.outcome()
    for event in framing.end():
        take(event)
    return answer.outcome()
