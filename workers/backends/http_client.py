"""One call over HTTP, whatever the dialect: bounded in time and size, and every way it may go wrong made a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import orjson

from openfall.router_core.jobs.outcome import ErrorClass, Failure, Outcome
from openfall.workers.backends.address import Address
from openfall.workers.backends.base import OnDelta
from openfall.workers.backends.error_mapping import shortened
from openfall.workers.backends.parsing import malformed
from openfall.workers.backends.response import (
    MAX_ANSWER,
    ResponseTooLong,
    Wire,
    read_answer,
    read_json,
    read_life,
)
from openfall.workers.backends.transport import StaleConnection

ECHO = 16
"""An error's message that shares this many characters in a row with the prompt repeats it, and is not told."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """What is posted where. `timeout` bounds the whole of it, in seconds; no failure's detail repeats the `prompt`."""

    path: str
    body: Mapping[str, Any]
    timeout: float
    prompt: Any = None


class HttpClient:
    """Calls to one endpoint, by paths below its root. Raises `asyncio.CancelledError` only; it hangs up then."""

    def __init__(self, place: Address, headers: Mapping[str, str], transport: httpx.AsyncBaseTransport) -> None:
        self._place = place
        self._transport = transport
        # accept-encoding: a compressed stream would arrive late
        told = {"host": place.root.netloc.decode(), "accept-encoding": "identity", **headers}
        self._headers = [(name.encode(), value.encode()) for name, value in told.items()]
        self._of_json = [*self._headers, (b"content-type", b"application/json")]
        self._urls: dict[str, httpx.URL] = {}

    async def complete(self, call: HttpCall, wire: Wire, on_delta: OnDelta | None) -> Outcome:
        """Ask for an answer. `on_delta` gets its text piece by piece, if the body asks for a stream."""
        try:
            payload = orjson.dumps(call.body)
        except TypeError as error:
            return Failure(error_class=ErrorClass.BAD_REQUEST, detail=shortened(f"the body is no JSON: {error}"))

        async def read(response: httpx.Response) -> Outcome:
            return await read_answer(response, wire, on_delta)

        outcome = await self._within(call.timeout, call.path, payload, read)
        return _without_echo(outcome, call.prompt) if isinstance(outcome, Failure) else outcome

    async def fetch_json(self, path: str, timeout_s: float, body: Mapping[str, Any] | None = None) -> Any | Failure:
        """The JSON that a path answers with: to a GET, or to a POST of a body. Anything but a 200 is a failure."""
        return await self._within(timeout_s, path, None if body is None else orjson.dumps(body), read_json)

    async def check_alive(self, path: str, timeout_s: float) -> Failure | None:
        """None when a GET is answered by anything but a server's error: a 404 or a 401 is a sign of life too."""
        return await self._within(timeout_s, path, None, read_life)

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _within(
        self, seconds: float, path: str, payload: bytes | None, read: Callable[[httpx.Response], Awaitable[T]]
    ) -> T | Failure:
        try:
            async with asyncio.timeout(seconds):
                return await self._read(path, payload, read)
        except TimeoutError:
            return Failure(error_class=ErrorClass.TIMEOUT, detail=f"no whole answer within {seconds:g} s")

    async def _read(
        self, path: str, payload: bytes | None, read: Callable[[httpx.Response], Awaitable[T]]
    ) -> T | Failure:
        """What `read` makes of the response, or the failure to get a whole one."""
        try:
            response = await self._send(path, payload)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            return Failure(error_class=ErrorClass.TIMEOUT, detail=shortened(f"the connection stalled: {error}"))
        except httpx.RequestError as error:
            what = "cannot connect" if isinstance(error, httpx.ConnectError) else "the connection failed"
            return Failure(error_class=ErrorClass.CONNECTION, detail=shortened(f"{what}: {error}"))
        try:
            return await read(response)
        except httpx.RequestError:
            return malformed("the connection broke off within the answer")
        except ResponseTooLong:
            return malformed(f"the answer is longer than {MAX_ANSWER // 2**20} MiB")
        finally:
            await response.aclose()

    async def _send(self, path: str, payload: bytes | None) -> httpx.Response:
        """Send, and once more if the connection was an old one that the server had closed without a word."""
        try:
            return await self._transport.handle_async_request(self._request(path, payload))
        except StaleConnection:
            return await self._transport.handle_async_request(self._request(path, payload))

    def _request(self, path: str, payload: bytes | None) -> httpx.Request:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self._place.at(path)
        if payload is None:
            return httpx.Request("GET", url, headers=self._headers)
        headers = [*self._of_json, (b"content-length", b"%d" % len(payload))]
        return httpx.Request("POST", url, headers=headers, stream=httpx.ByteStream(payload))


def _without_echo(failure: Failure, prompt: Any) -> Failure:
    """The same failure; without its message if that repeats the prompt, as some servers' complaints do."""
    asked = orjson.dumps(prompt).decode()
    detail = failure.detail
    if not any(detail[start : start + ECHO] in asked for start in range(len(detail) - ECHO + 1)):
        return failure
    told = detail.partition(": ")[0] if detail.startswith("HTTP ") else str(failure.error_class)
    return Failure(error_class=failure.error_class, detail=told, retry_after=failure.retry_after)
