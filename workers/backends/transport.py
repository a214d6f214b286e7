"""Which HTTP client carries the calls: aiohttp's connections behind httpx's transport interface.

Why this pair and not httpx's own pool, with numbers: docs/adr/0003-http-transport.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import cache
from ssl import SSLContext
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
from yarl import URL

CONNECT_SECONDS = 10.0
"""A host that does not accept a connection in this time is away; the rest of a call's time is for the answer."""

IDLE_SECONDS = 15.0
"""A connection unused for longer is closed by us. Shorter than what load balancers allow (60 s and more), so that we
are the ones to close it."""


class StaleConnection(httpx.RemoteProtocolError):
    """A connection kept from an earlier call was closed under this one, before any byte of an answer.

    The one failure after which the same request may be sent again at once: the server closed an idle connection, and
    has not read the request.
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
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response as soon as its headers are there. Raises `httpx.TransportError`."""
        session = self._session or self._open()
        connection = SimpleNamespace(reused=False)
        with _translated(connection):
            response = await session.request(
                request.method,
                _address(request.url),
                headers=request.headers,
                data=await request.aread() or None,
                allow_redirects=False,
                trace_request_ctx=connection,
            )
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Body(response), request=request
        )

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = (
            aiohttp.TCPConnector(limit=0, ssl=_trusted(), keepalive_timeout=IDLE_SECONDS)
            if self._keep_alive
            else aiohttp.TCPConnector(limit=0, ssl=_trusted(), force_close=True)
        )
        traces = []
        if self._keep_alive:
            reuse = aiohttp.TraceConfig(trace_config_ctx_factory=_own)
            reuse.on_connection_reuseconn.append(_mark_reused)
            traces.append(reuse)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            trace_configs=traces,
        )
        return self._session


class _Body(httpx.AsyncByteStream):
    """The bytes of a response as they arrive. Closed before its end, it closes the connection with it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            while chunk := await self._response.content.readany():
                yield chunk

    async def aclose(self) -> None:
        self._response.close()


@cache
def _address(url: httpx.URL) -> URL:
    return URL(str(url), encoded=True)


@cache
def _trusted() -> SSLContext:
    return httpx.create_ssl_context()


def _own(trace_request_ctx: Any) -> Any:
    return trace_request_ctx


async def _mark_reused(_session: object, connection: Any, _params: object) -> None:
    connection.reused = True


@contextmanager
def _translated(connection: SimpleNamespace | None = None) -> Iterator[None]:
    """aiohttp's exceptions as httpx's: the only place that knows both."""
    try:
        yield
    except (aiohttp.ServerTimeoutError, TimeoutError) as error:
        raise httpx.ConnectTimeout(f"no connection within {CONNECT_SECONDS:.0f} s") from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(str(error)) from error
    except aiohttp.InvalidURL as error:
        raise httpx.UnsupportedProtocol(str(error)) from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if connection and connection.reused:
            raise StaleConnection("the server had closed the kept connection") from error
        raise httpx.ReadError("the server closed the connection") from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except aiohttp.ClientError as error:
        raise httpx.NetworkError(str(error) or type(error).__name__) from error
