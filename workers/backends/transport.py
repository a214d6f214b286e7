"""Which HTTP client carries the calls: aiohttp's connections behind httpx's transport interface.

Why this pair and not httpx's own pool, with numbers: docs/adr/0003-http-transport.md.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, lru_cache
from ssl import SSLContext
from typing import Any

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

CONNECT_SECONDS = 10.0
"""A host that does not accept a connection in this time is away; the rest of a call's time is for the answer."""

IDLE_SECONDS = 15.0
"""A connection unused for longer is closed by us. Shorter than what load balancers allow (60 s and more), so that we
are the ones to close it."""


class StaleConnection(httpx.RemoteProtocolError):
    """A connection kept from an earlier call was closed under this one, before any byte of an answer.

    The one failure after which the same request may be sent again at once: most likely the server had closed an idle
    connection and never read the request. That it read it and died is possible, and costs one call too many.
    """


def open_transport(*, keep_alive: bool) -> httpx.AsyncBaseTransport:
    """A transport without a connection limit of its own: a backend's slots bound its calls.

    With `keep_alive` connections are used again; without it each call has its own and says `Connection: close`.
    """
    return AiohttpTransport(keep_alive=keep_alive)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """aiohttp's connector, parser and writer; httpx's requests, responses and exceptions.

    It follows no redirect, keeps no cookie, decodes no body, retries nothing and knows no timeout but the one for
    connecting. It belongs to the event loop of its first call.
    """

    def __init__(self, *, keep_alive: bool) -> None:
        self._keep_alive = keep_alive
        self._ssl = trusted_roots()  # now, not in the first call: it takes 20 to 50 ms
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response as soon as its headers are there. Raises `httpx.TransportError`."""
        session = self._session or self._open()
        connection = _Connection()
        _CONNECTION.set(connection)
        try:
            response = await session.request(
                request.method,
                _address(request.url),
                headers=CIMultiDict([(name.decode(), value.decode()) for name, value in request.headers.raw]),
                data=await request.aread() or None,
                allow_redirects=False,
            )
        except aiohttp.ClientError as error:
            if not connection.fresh and _before_any_byte(error):
                raise StaleConnection("the server had closed the kept connection") from error
            raise _as_httpx(error) from error
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response), request=request)

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        lifetime: dict[str, Any] = {"keepalive_timeout": IDLE_SECONDS} if self._keep_alive else {"force_close": True}
        connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl, socket_factory=_socket, **lifetime)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self._session


@dataclass(slots=True)
class _Connection:
    """What a call goes out on. `fresh` when it was opened for this call: a socket was made while it connected."""

    fresh: bool = False


_CONNECTION: ContextVar[_Connection] = ContextVar("connection")


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    _CONNECTION.get().fresh = True
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


class _Body(httpx.AsyncByteStream, AsyncIterator[bytes]):
    """The bytes of a response as they arrive. Closed before its end, it closes the connection with it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except aiohttp.ClientError as error:
            raise _as_httpx(error) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._response.close()


_TRANSLATIONS: tuple[tuple[type[aiohttp.ClientError], type[httpx.TransportError]], ...] = (
    (aiohttp.ServerTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.ClientError, httpx.NetworkError),
)
"""aiohttp's exceptions and what httpx calls them; the first that fits. The only place that knows both."""


def _before_any_byte(error: aiohttp.ClientError) -> bool:
    """Whether a connection ended without a word. aiohttp puts what had arrived of the headers in place of a message.

    Of a reset it keeps nothing, and is believed: a reset within the first line of an answer is all but unheard of.
    """
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    unconnected = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError)
    return isinstance(error, aiohttp.ClientConnectionError) and not unconnected


def _as_httpx(error: aiohttp.ClientError) -> httpx.TransportError:
    kind = next(ours for theirs, ours in _TRANSLATIONS if isinstance(error, theirs))
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return kind("the server closed the connection")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return kind("its host name is not known")
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno  # asyncio's own words name the address in place of the cause
        return kind(os.strerror(number).lower() if number else str(error.os_error))
    return kind(str(error) or type(error).__name__)


@lru_cache(maxsize=64)
def _address(url: httpx.URL) -> URL:
    return URL(str(url), encoded=True)


@cache
def trusted_roots() -> SSLContext:
    """Whom every connection of a worker believes who it is."""
    return httpx.create_ssl_context()
