"""The OpenAI chat-completions protocol: what llama-server, vLLM, Ollama, OpenRouter, Gemini and OpenAI all speak."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import httpx
import orjson

from router_core.outcome import ErrorClass, Failure, Outcome
from workers.backends.answer import Events, StreamedAnswer, malformed, read_answer
from workers.backends.base import Loaded, OnDelta, Request
from workers.backends.signals import classify, shortened
from workers.backends.transport import StaleConnection

MAX_ANSWER = 32 * 2**20
"""Bytes. The longest answers of today's models are under 1 MiB; what is longer than this is not an answer."""

MAX_REFUSAL = 64 * 2**10
"""Bytes of an error's body that are read. Enough for every error; the rest of a web page tells nothing."""

ECHO = 16
"""An error's message that shares this many characters in a row with the prompt repeats it, and is not told."""

_VERSIONED = re.compile(r"/v\d\w*(/|$)")


class TooLong(Exception):
    """The answer is longer than `MAX_ANSWER`."""


def endpoint(url: str) -> httpx.URL:
    """Where to post to. A base url may name its version (`/v1`, `/v1beta/openai`) or leave it out: then it is `/v1`.

    `ValueError` for a url that cannot be called, so that no call has to find out.
    """
    try:
        base = httpx.URL(url)
        base.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError("the url of a backend names no host that there can be: check its host and port") from None
    if not base.host or not 0 < (base.port or 80) < 2**16:
        raise ValueError("the url of a backend names no host that there can be: check its host and port")
    if base.userinfo:
        raise ValueError("the url of a backend names a user: take that out, and give its password as the key")
    path = base.path.rstrip("/").removesuffix("/chat/completions")
    version = "" if _VERSIONED.search(path) else "/v1"
    return base.copy_with(path=f"{path}{version}/chat/completions", fragment=None)


class OpenAIBackend:
    """One endpoint that speaks it. `url` is its base, `key` its bearer token (empty: none), `transport` its own."""

    def __init__(self, url: str, key: str, transport: httpx.AsyncBaseTransport) -> None:
        key = key.strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the key of a backend has characters that no HTTP header can carry: copy it again")
        self._url = endpoint(url)
        self._transport = transport
        # accept-encoding: a compressed stream would arrive late
        told = {"host": self._url.netloc.decode(), "content-type": "application/json", "accept-encoding": "identity"}
        if key:
            told["authorization"] = f"Bearer {key}"
        self._headers = [(name.encode(), value.encode()) for name, value in told.items()]

    async def complete(self, request: Request, on_delta: OnDelta | None = None) -> Outcome:
        """Make the call; stream it when `on_delta` is given. A failure's detail never repeats the prompt."""
        try:
            payload = orjson.dumps(_body(request, streamed=on_delta is not None))
        except TypeError as error:
            return Failure(error_class=ErrorClass.BAD_REQUEST, detail=shortened(f"the body is no JSON: {error}"))
        try:
            async with asyncio.timeout(request.timeout):
                outcome = await self._call(payload, on_delta)
        except TimeoutError:
            return Failure(error_class=ErrorClass.TIMEOUT, detail=f"no whole answer within {request.timeout:g} s")
        return _without_echo(outcome, request.body) if isinstance(outcome, Failure) else outcome

    async def alive(self, within: float) -> Failure | None:
        raise NotImplementedError

    async def models(self, within: float) -> tuple[str, ...] | Failure:
        raise NotImplementedError

    async def loaded(self, within: float) -> tuple[Loaded, ...] | Failure | None:
        raise NotImplementedError

    async def load(self, upstream: str, ctx: int | None, within: float) -> Failure | None:
        raise NotImplementedError

    async def unload(self, upstream: str, within: float) -> Failure | None:
        raise NotImplementedError

    async def close(self) -> None:
        await self._transport.aclose()

    async def _call(self, payload: bytes, on_delta: OnDelta | None) -> Outcome:
        try:
            response = await self._send(payload)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            return Failure(error_class=ErrorClass.TIMEOUT, detail=shortened(f"{type(error).__name__}: {error}"))
        except httpx.RequestError as error:
            return Failure(error_class=ErrorClass.CONNECTION, detail=shortened(f"{type(error).__name__}: {error}"))
        try:
            if response.status_code != 200:
                return classify(response.status_code, response.headers, await _read_some(response))
            if on_delta and response.headers.get("content-type", "").startswith("text/event-stream"):
                return await _read_stream(response, on_delta)
            return await _read_whole(response, on_delta)
        except TooLong:
            return malformed(f"the answer is longer than {MAX_ANSWER // 2**20} MiB")
        finally:
            await response.aclose()

    async def _send(self, payload: bytes) -> httpx.Response:
        """Send, and once more if the connection was an old one that the server had closed without a word."""
        try:
            return await self._transport.handle_async_request(self._request(payload))
        except StaleConnection:
            return await self._transport.handle_async_request(self._request(payload))

    def _request(self, payload: bytes) -> httpx.Request:
        headers = [*self._headers, (b"content-length", b"%d" % len(payload))]
        return httpx.Request("POST", self._url, headers=headers, stream=httpx.ByteStream(payload))


def _body(request: Request, *, streamed: bool) -> dict[str, Any]:
    """The caller's body as it came, but for the model, the stream, and a limit where it has none."""
    body = {key: value for key, value in request.body.items() if key not in ("stream", "stream_options")}
    body["model"] = request.upstream
    if streamed:
        options = request.body.get("stream_options")
        body["stream"] = True
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    if request.max_tokens is not None and "max_tokens" not in body and "max_completion_tokens" not in body:
        body["max_tokens"] = request.max_tokens
    return body


async def _chunks(response: httpx.Response, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it arrives; `TooLong` past `limit` bytes."""
    stream = response.aiter_bytes() if "content-encoding" in response.headers else response.stream
    assert not isinstance(stream, httpx.SyncByteStream) or isinstance(stream, httpx.AsyncByteStream)
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise TooLong
        yield chunk


async def _read_some(response: httpx.Response) -> bytes:
    """What there is of an error's body. Its status has told the most already."""
    read = bytearray()
    try:
        async for chunk in _chunks(response, MAX_REFUSAL):
            read += chunk
    except (httpx.RequestError, TooLong):
        pass
    return bytes(read)


async def _read_whole(response: httpx.Response, on_delta: OnDelta | None) -> Outcome:
    """A 200 in one piece: also what a server sends that cannot stream."""
    try:
        body = b"".join([chunk async for chunk in _chunks(response, MAX_ANSWER)])
    except httpx.RequestError:
        return malformed("the connection broke off within the answer")
    outcome = read_answer(body, response.headers)
    if on_delta and not isinstance(outcome, Failure):
        on_delta(outcome.text)
    return outcome


async def _read_stream(response: httpx.Response, on_delta: OnDelta) -> Outcome:
    """A 200 in events. It is complete when a finish reason has arrived, whatever happens to the connection after."""
    answer, events = StreamedAnswer(), Events()

    def take(event: bytes) -> None:
        if not answer.ended and (text := answer.take(event)):
            on_delta(text)

    try:
        async with aclosing(_chunks(response, MAX_ANSWER)) as chunks:
            async for chunk in chunks:
                for event in events.feed(chunk):
                    take(event)
                if answer.ended:
                    return answer.outcome()
    except httpx.RequestError:
        return answer.outcome()
    for event in events.end():
        take(event)
    return answer.outcome()


def _without_echo(failure: Failure, body: Mapping[str, Any]) -> Failure:
    """The same failure; without its message if that repeats the prompt, as some servers' complaints do."""
    prompt = orjson.dumps(body.get("messages")).decode()
    detail = failure.detail
    if not any(detail[start : start + ECHO] in prompt for start in range(len(detail) - ECHO + 1)):
        return failure
    told = detail.partition(": ")[0] if detail.startswith("HTTP ") else str(failure.error_class)
    return Failure(error_class=failure.error_class, detail=told, retry_after=failure.retry_after)
