"""One POST to a stranger's server: bounded in time and size, to an address that was checked, and never redirected.

The name is resolved once, every address that it has is checked, and the connection goes to one of those: between the
check and the use nothing is resolved again. An answer's body is read up to a bound, for what a notifier says in it.
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
from openfall.workers.outbox.url_policy import (
    UrlPolicy,
    UrlRefused,
    check_addresses,
    checked_url,
    resolve,
)

TIMEOUT = 20.0
"""Seconds that a post may take, from its name's resolution to the end of its answer."""

MOST_READ = 64 * 1024
"""Bytes of an answer that are read."""

AT_ONCE = 8
"""Names that are resolved at once: a slow name server holds no more threads than these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """What is sent where. The body is JSON."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """What the server said. Header names are in lower case; no more than `MOST_READ` bytes of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nobody answered. `refused`: by our own rules, and `why` has the remedy; otherwise the host cannot be reached."""

    why: str
    refused: bool = False


Lookup = Callable[[str, int], Sequence[str]]
"""The addresses of a host; an `OSError` when it has none."""


class Sender:
    """Posts under one set of rules. Raises `asyncio.CancelledError` only. It belongs to one event loop."""

    def __init__(self, rules: UrlPolicy, *, lookup: Lookup | None = None, timeout: float = TIMEOUT) -> None:
        self._rules, self._timeout = rules, timeout
        self._lookup = lookup or resolve
        self._roots = trusted_roots()  # now: it takes 20 to 50 ms
        self._lookups = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="resolve")

    async def send(self, parcel: WebhookRequest) -> WebhookResponse | NotSent:
        """Send it once, and read what is said to it."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._send(parcel)
        except UrlRefused as error:
            return NotSent(str(error), refused=True)
        except TimeoutError:
            return NotSent(f"no whole answer within {self._timeout:g} s")
        except aiohttp.ClientError as error:
            return NotSent(_told(error))
        except OSError as error:
            return NotSent(_told_by_system(error))

    async def close(self) -> None:
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def _send(self, parcel: WebhookRequest) -> WebhookResponse:
        url = checked_url(parcel.url, self._rules)
        host, port = str(url.host), url.port or 0
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._lookups, self._lookup, host, port)
        check_addresses(host, addresses, self._rules)
        return await self._exchange(parcel, url, _Pinned(addresses))

    async def _exchange(self, parcel: WebhookRequest, url: URL, resolver: AbstractResolver) -> WebhookResponse:
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True, ssl=self._roots)
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
                parcel.method, url, data=parcel.body, headers={**headers, **parcel.headers}, allow_redirects=False
            ) as response,
        ):
            told = {name.lower(): value for name, value in response.headers.items()}
            return WebhookResponse(response.status, told, await _read(response))


class _Pinned(AbstractResolver):
    """Knows the addresses that were checked, and no other."""

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
        """It holds nothing."""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of a body. That it breaks off says nothing against the status, which was there before."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) >= MOST_READ:
                break
    except aiohttp.ClientError:
        pass
    return bytes(body[:MOST_READ])


def _told(error: aiohttp.ClientError) -> str:
    """What went wrong, without the address: it may hold a token."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid for this host"
    if isinstance(error, aiohttp.ClientSSLError):
        return "it speaks no TLS that we do"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _told_by_system(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "the connection broke off"
    return f"no HTTP was spoken ({type(error).__name__})"


def _told_by_system(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its host name is not known"
    return f"cannot connect: {os.strerror(error.errno).lower()}" if error.errno else "cannot connect"
