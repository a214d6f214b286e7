"""One HTTP request to a foreign server: limited in time and size, sent only to checked addresses, never redirected.

The sender resolves the host once, checks every address, and connects to one of them: nothing is resolved again between
the check and the use. It reads the response body up to a limit, for what a notifier's server says in it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from openfall.workers.backends.transport import trusted_roots
from openfall.workers.outbox.url_policy import UrlPolicy, UrlRefused, check_addresses, check_url, resolve_host

TIMEOUT_SECONDS = 20.0
"""For the whole exchange, from the DNS lookup to the end of the response."""

MAX_RESPONSE_BYTES = 64 * 1024

MAX_CONCURRENT_LOOKUPS = 8
"""DNS lookups at a time: a slow name server holds no more threads than these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """A request to send. The body is JSON."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """The server's response. Header names are in lower case; `body` has at most `MAX_RESPONSE_BYTES`."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NotSent:
    """There is no response. `refused`: the URL policy forbids it, and `reason` has the remedy; otherwise the host
    cannot be reached."""

    reason: str
    refused: bool = False


Lookup = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host. Raises `OSError` if it has none."""


class Sender:
    """Sends requests under one URL policy. Raises only `asyncio.CancelledError`. It belongs to one event loop."""

    def __init__(
        self, policy: UrlPolicy, *, lookup: Lookup = resolve_host, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._policy, self._lookup, self._timeout_seconds = policy, lookup, timeout_seconds
        self._ssl = trusted_roots()  # here, not in the first request: it takes 20 to 50 ms
        self._lookup_threads = ThreadPoolExecutor(MAX_CONCURRENT_LOOKUPS, thread_name_prefix="resolve")

    async def send(self, request: WebhookRequest) -> WebhookResponse | NotSent:
        """Send a request once and read the response."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._send(request)
        except UrlRefused as error:
            return NotSent(str(error), refused=True)
        except TimeoutError:
            return NotSent(f"no complete response within {self._timeout_seconds:g} s")
        except aiohttp.ClientError as error:
            return NotSent(_describe(error))
        except OSError as error:
            return NotSent(_describe_os_error(error))

    async def close(self) -> None:
        self._lookup_threads.shutdown(wait=False, cancel_futures=True)

    async def _send(self, request: WebhookRequest) -> WebhookResponse:
        url = check_url(request.url, self._policy)
        host, port = str(url.host), url.port or 0
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._lookup_threads, self._lookup, host, port)
        check_addresses(host, addresses, self._policy)
        return await self._exchange(request, url, _CheckedAddresses(addresses))

    async def _exchange(self, request: WebhookRequest, url: URL, resolver: AbstractResolver) -> WebhookResponse:
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True, ssl=self._ssl)
        headers = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "openfall"}
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.request(
                request.method, url, data=request.body, headers={**headers, **request.headers}, allow_redirects=False
            ) as response,
        ):
            response_headers = {name.lower(): value for name, value in response.headers.items()}
            return WebhookResponse(response.status, response_headers, await _read_body(response))


class _CheckedAddresses(AbstractResolver):
    """Resolves every host to the addresses that were checked."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in self._addresses
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing to close."""


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of a body. If the connection breaks, the status still counts: it arrived before the body."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) >= MAX_RESPONSE_BYTES:
                break
    except aiohttp.ClientError:
        pass
    return bytes(body[:MAX_RESPONSE_BYTES])


def _describe(error: aiohttp.ClientError) -> str:
    """The error without the URL: it may contain a token."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid for this host"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS handshake failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _describe_os_error(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "the connection was closed"
    return f"the server did not speak HTTP ({type(error).__name__})"


def _describe_os_error(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its host name is unknown"
    return f"cannot connect: {os.strerror(error.errno).lower()}" if error.errno else "cannot connect"
