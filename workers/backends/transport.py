"""The HTTP connections of a backend, by aiohttp. The reasons are in docs/adr/0003-http-transport.md."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from typing import Any

import aiohttp
import certifi
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from openfall.workers.backends.environment_proxy import find_proxy
from openfall.workers.backends.loop_share import SLICE_SECONDS, LoopShare

CONNECT_TIMEOUT_S = 10.0
"""A host that accepts no connection in this time is unreachable. The rest of a call's time is for the answer."""

IDLE_TIMEOUT_S = 15.0
"""The client closes a connection that is unused for longer. Load balancers allow 60 s and more, so the client closes
first."""

READ_BUFFER_BYTES = 2**14
"""How much of a body a connection parses ahead: also 1,024 chunks of it, which take 4 ms. Then its server waits."""

MAX_HEADER_BYTES = 2**16
"""Of one header of a response. The policies and cookies of some proxies are longer than aiohttp's 8,190 bytes."""

MAX_INTERIM_RESPONSES = 64
"""Interim responses in a row. Servers send one or two."""

_HEAD_END = b"\r\n\r\n"

LARGE_BODY_BYTES = 2**20
"""A larger body is written in parts, so that other calls of the event loop go on."""


class Transport:
    """Sends requests. It follows no redirect, keeps no cookie, and limits only the time of connecting.

    It has no connection limit: a backend's slots bound its calls. With `keep_alive` it uses connections again; without,
    each call has a connection of its own and says `Connection: close`. It belongs to the event loop of its first call.
    """

    def __init__(self, *, keep_alive: bool) -> None:
        self._keep_alive = keep_alive
        self._ssl = trusted_roots()  # now, not in the first call: it takes 20 to 50 ms
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[URL, URL | None] = {}

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """Return the response as soon as its headers have arrived. Raises `aiohttp.ClientError`.

        A request whose kept connection ends before any byte of a response is sent once more: most likely the server
        had closed the idle connection and never read the request. If the server did read it, this costs one call.
        """
        connection = _Connection()
        _CONNECTION.set(connection)
        try:
            return await self._request(method, url, headers, body)
        except aiohttp.ClientError as error:
            if connection.fresh or not _ended_before_any_byte(error):
                raise
        return await self._request(method, url, headers, body)

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def _request(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        session = self._session = self._session or self._open()
        data = BytesIO(body) if body is not None and len(body) > LARGE_BODY_BYTES else body
        origin = url.origin()
        if origin not in self._proxies:  # once: it reads every variable of the environment
            self._proxies[origin] = find_proxy(origin)
        proxy = self._proxies[origin]
        return await session.request(method, url, headers=headers, data=data, allow_redirects=False, proxy=proxy)

    def _open(self) -> aiohttp.ClientSession:
        lifetime: dict[str, Any] = {"keepalive_timeout": IDLE_TIMEOUT_S} if self._keep_alive else {"force_close": True}
        connector = _Connector(limit=0, ssl=self._ssl, socket_factory=_open_socket, **lifetime)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # `decompression` looks at the bytes: some servers name what they did not do
            read_bufsize=READ_BUFFER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            trust_env=False,  # it would send the passwords of a .netrc; `environment_proxy` reads the proxies
        )


async def read_available(content: StreamReader) -> bytes:
    """The bytes of a body that have arrived; none at its end. Raises `aiohttp.ClientError`."""
    try:
        return await content.readany()
    except RuntimeError as error:  # aiohttp has closed the connection, because what followed is no HTTP
        raise aiohttp.ClientPayloadError("the body is not valid HTTP") from error


class BoundedHandler(ResponseHandler):
    """A connection that bounds what its server costs, where aiohttp has no bound.

    It closes after too many interim responses (100 to 199). Bytes that bring its reader nothing, such as an endless
    extension of a chunk, get a share of the event loop: meanwhile it reads no more of them. A head counts, although no
    HTTP follows it. It remembers that this process had no memory to read a response: aiohttp then hangs up.

    It closes if bytes arrive that no request asked for: aiohttp would take them for the answer to the next one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0
        self._is_answered = False
        """Whether the last request has the head of its response."""
        self._shortage: MemoryError | None = None
        self._loop_share = LoopShare()
        self.parsing_seconds = 0.0
        """The time on the event loop that the bytes of its current response have used, and that no reader has taken."""

    def take_parsing_seconds(self) -> float:
        """The time that the bytes have used since the last call, which the reader charges to its own share."""
        seconds, self.parsing_seconds = self.parsing_seconds, 0.0
        return seconds

    def set_exception(self, exc: Any, *cause: BaseException) -> None:
        self._shortage = next((each for each in cause if isinstance(each, MemoryError)), self._shortage)
        super().set_exception(exc, *cause)

    def set_response_params(self, **options: Any) -> None:
        self._is_answered = False  # a request follows
        super().set_response_params(**options)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc or self._shortage)  # else it would count as closed by the server

    def data_received(self, data: bytes) -> None:
        if data and self._is_answered and not self._is_in_body:
            self.close()
            return
        began = time.thread_time()
        rest = self._read_heads(data)
        if rest or not data:
            super().data_received(rest)
        self.parsing_seconds += time.thread_time() - began
        if self.parsing_seconds > SLICE_SECONDS:
            self._hold()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if self._is_answered:  # a second response, which came together with the end of the first one
            self.close()
            return
        if data[0].code < 200:
            self._interim += 1
        else:  # else a connection that is reused would charge an answer for all before it, and the 1,000th would wait
            self._interim, self.parsing_seconds, self._loop_share = 0, 0.0, LoopShare()
            self._is_answered = True
        if self._interim > MAX_INTERIM_RESPONSES:
            self.close()
        else:
            super().feed_data(data, size)

    def _read_heads(self, data: bytes) -> bytes:
        """Read each head by itself, and return the bytes behind them. aiohttp forgets a head if bytes that come
        together with it are no HTTP."""
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            end = -1 if self._is_in_body or self._is_answered else data.find(_HEAD_END)
            if end < 0:
                break
            head, data = data[: end + len(_HEAD_END)], data[end + len(_HEAD_END) :]
            super().data_received(head)
            if self.transport is None or self.exception() is not None:
                return b""
        return data

    @property
    def _is_in_body(self) -> bool:
        return self._payload is not None and not self._payload.is_eof()

    def _hold(self) -> None:
        """Read nothing until the share of this connection allows it."""
        self._loop_share.begin()
        self._loop_share.charge(self.take_parsing_seconds())
        seconds = self._loop_share.end_slice()
        if seconds:
            self.force_close()  # behind this response: the next one would wait, too
        self._pause_transport_reading()
        self._loop.call_later(seconds, self._release)

    def _release(self) -> None:
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        handler: Callable[..., ResponseHandler] = BoundedHandler
        self._factory = partial(handler, asyncio.get_running_loop())


@dataclass(slots=True)
class _Connection:
    """The connection of a call. It is `fresh` if a socket was opened for this call."""

    fresh: bool = False


_CONNECTION: ContextVar[_Connection] = ContextVar("connection")


def _open_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    _CONNECTION.get().fresh = True
    family, kind, protocol, _, _ = address
    return socket.socket(family, kind, protocol)


def _ended_before_any_byte(error: aiohttp.ClientError) -> bool:
    """Whether a connection ended without a response. aiohttp puts the headers that did arrive in place of a message.

    aiohttp keeps nothing of a reset, so a reset counts as no response: one within a first line is all but unheard of.
    """
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    unconnected = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError)
    return isinstance(error, aiohttp.ClientConnectionError) and not unconnected


@dataclass(frozen=True, slots=True)
class ConnectionFault:
    """Why a request has no response. The reason repeats no address, which may hold a token, and nothing of a response.
    `never_sent`: there was no connection, so the server knows nothing of the request."""

    reason: str
    never_sent: bool = False

    def __str__(self) -> str:
        return f"{'cannot connect' if self.never_sent else 'the connection failed'}: {self.reason}"


def explain_fault(error: aiohttp.ClientError | OSError) -> ConnectionFault:
    """The fault behind an error of aiohttp or of the system."""
    match error:
        case aiohttp.ServerTimeoutError():
            return ConnectionFault(f"no connection within {CONNECT_TIMEOUT_S:g} s", never_sent=True)
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            return ConnectionFault(_describe_proxy_error(error), never_sent=True)
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return ConnectionFault("its host name is not known", never_sent=True)
        case aiohttp.ClientSSLError():
            return ConnectionFault(_describe_tls_error(error), never_sent=True)
        case aiohttp.ClientConnectorError():  # asyncio's own text names the address in place of the reason
            return ConnectionFault(_describe_os_error(error.os_error), never_sent=True)
        case aiohttp.ServerDisconnectedError():
            return ConnectionFault("the server closed the connection")
        case OSError():
            return ConnectionFault(_describe_os_error(error))
    return ConnectionFault(f"the response is not valid HTTP ({type(error).__name__})")


def _describe_tls_error(error: aiohttp.ClientSSLError) -> str:
    is_of_certificate = isinstance(error, aiohttp.ClientConnectorCertificateError)
    return "its certificate is not valid for this host" if is_of_certificate else "the TLS handshake failed"


def _describe_proxy_error(error: aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError) -> str:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy of HTTPS_PROXY refuses with HTTP {error.status}"
    return f"no connection to the proxy of HTTPS_PROXY ({_describe_os_error(error.os_error)})"


def _describe_os_error(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__


@cache
def trusted_roots() -> ssl.SSLContext:
    """The root certificates that every TLS connection trusts: those of certifi, or of `SSL_CERT_FILE` or `_DIR`."""
    if file := os.environ.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=file)
    if directory := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=directory)
    return ssl.create_default_context(cafile=certifi.where())
