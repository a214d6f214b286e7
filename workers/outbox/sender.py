"""One HTTP request to a foreign server: limited in time and size, sent only to checked addresses, never redirected.

The sender resolves the host once, checks every address, and connects to one of them: nothing is resolved again between
the check and the use. It reads the response body up to a limit, for what a notifier's server says in it.

The status line decides. Once it has arrived, nothing that follows takes the status back: neither a body that never
ends or breaks off, nor headers or chunks that are not valid HTTP.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ssl import SSLContext

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from openfall.workers.backends.transport import BoundedHandler, explain_fault, trusted_roots
from openfall.workers.outbox.delivery_result import Failed, WebhookResponse
from openfall.workers.outbox.webhook_url_check import UrlPolicy, UrlRefused, check_addresses, check_url, resolve_host

TIMEOUT_SECONDS = 20.0
"""For the exchange, from the DNS lookup to the headers of the response."""

BODY_TIMEOUT_SECONDS = 2.0
"""For the body after the headers. What has arrived by then is the body: some servers never end it."""

MAX_RESPONSE_BYTES = 64 * 1024

_FINAL_STATUS = re.compile(
    rb"(?:HTTP/1\.[01] 1\d\d[^\n]*\n(?:[^\r\n][^\n]*\n)*+\r?\n)*+"  # interim responses: 100, 103 ...
    rb"HTTP/1\.[01] ([2-9]\d\d)[ \r\n]"
)

DEFAULT_HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "openfall"}

MAX_CONCURRENT_LOOKUPS = 8
"""DNS lookups at a time: a slow name server holds no more threads than these."""


Lookup = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host. Raises `OSError` if it has none."""


class Sender:
    """Sends requests under one URL policy. Raises only `asyncio.CancelledError`. It belongs to one event loop."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        lookup: Lookup = resolve_host,
        timeout_seconds: float = TIMEOUT_SECONDS,
        body_timeout_seconds: float = BODY_TIMEOUT_SECONDS,
    ) -> None:
        self._policy, self._lookup = policy, lookup
        self._timeout_seconds, self._body_timeout_seconds = timeout_seconds, body_timeout_seconds
        self._ssl = trusted_roots()  # here, not in the first request: it takes 20 to 50 ms
        self._lookup_threads = ThreadPoolExecutor(MAX_CONCURRENT_LOOKUPS, thread_name_prefix="resolve")

    async def send(
        self, url: str, body: bytes, headers: Mapping[str, str], *, method: str = "POST"
    ) -> WebhookResponse | Failed:
        """Send a request with a JSON body once and read the response. Failed: there is none."""
        received = bytearray()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._send(method, url, body, headers, received)
        except UrlRefused as error:
            return Failed(str(error), refused=True)
        except (aiohttp.ClientError, OSError) as error:
            if status := _FINAL_STATUS.match(received):
                return WebhookResponse(int(status[1]), {}, b"")
            if isinstance(error, TimeoutError):
                return Failed(f"no response within {self._timeout_seconds:g} s", unreachable=True)
            return Failed(str(explain_fault(error)), unreachable=True)

    async def close(self) -> None:
        self._lookup_threads.shutdown(wait=False, cancel_futures=True)

    async def _send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], received: bytearray
    ) -> WebhookResponse:
        target = check_url(url, self._policy)
        host, port = str(target.host), target.port or 0
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._lookup_threads, self._lookup, host, port)
        check_addresses(host, addresses, self._policy)
        connector = _Connector(received, resolver=_CheckedAddresses(addresses), ssl=self._ssl)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.request(
                method, target, data=body, headers={**DEFAULT_HEADERS, **headers}, allow_redirects=False
            ) as response,
        ):
            response_headers = {name.lower(): value for name, value in response.headers.items()}
            first_bytes = await _read_body(response, self._body_timeout_seconds)
            return WebhookResponse(response.status, response_headers, first_bytes)


class _Connector(aiohttp.TCPConnector):
    """Connects for one request. `received` gets the first bytes of the response, up to `MAX_RESPONSE_BYTES`."""

    def __init__(self, received: bytearray, *, resolver: AbstractResolver, ssl: SSLContext) -> None:
        super().__init__(resolver=resolver, use_dns_cache=False, force_close=True, ssl=ssl)
        handler: Callable[..., ResponseHandler] = _RecordingHandler
        self._factory = partial(handler, asyncio.get_running_loop(), received)


class _RecordingHandler(BoundedHandler):
    """Records what arrives. aiohttp keeps nothing of a response whose head or body it cannot parse."""

    def __init__(self, loop: asyncio.AbstractEventLoop, received: bytearray) -> None:
        super().__init__(loop)
        self._received = received

    def data_received(self, data: bytes) -> None:
        self._received += data[: MAX_RESPONSE_BYTES - len(self._received)]
        super().data_received(data)


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


async def _read_body(response: aiohttp.ClientResponse, timeout_seconds: float) -> bytes:
    """The first bytes of a body, as far as it arrives. The status counts, whatever the body does."""
    body = bytearray()
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) >= MAX_RESPONSE_BYTES:
                    break
    return bytes(body[:MAX_RESPONSE_BYTES])
