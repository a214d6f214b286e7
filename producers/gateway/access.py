"""Who calls the gateway, and whether it may: keys, and the checks that keep web pages out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request

from openfall.config.gateway_settings import GatewaySection
from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.state.client_keys import OF_THE_GATEWAY, PREFIX, ClientKey, KeyRing

Headers = Mapping[str, str]

_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""The headers that proxies add."""

_OPEN = ClientKey(name=OF_THE_GATEWAY, digest="", admin=True)
"""Stands for every caller of a gateway without keys."""


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one gateway.

    With keys every caller needs one. Without keys every caller of this machine is let in, with any key or none. Unless
    the gateway is `open`, it then refuses a request that a proxy hands on, and one with a `Host` that is not this
    machine, which only a web page sends. It always refuses an `Origin` that is not in `cors`.
    """

    settings: GatewaySection
    keys: KeyRing

    def caller(self, request: Request) -> ClientKey:
        """The key of a request. Raises `Refusal`."""
        headers = request.headers
        self.check_origin(headers)
        if not self.keys:
            if not self.settings.open:
                self._check_host(headers)
                _check_proxy(request)
            return _OPEN
        secret = presented_key(headers)
        if not secret:
            raise Refusal("no_key", _without_key(headers) + unreadable_keys(self.keys))
        key = self.keys.find(secret)
        if key is None:
            raise Refusal("no_key", _unknown(secret) + unreadable_keys(self.keys))
        return key

    def check_origin(self, headers: Headers) -> None:
        """Raises `Refusal` for a page of an origin that may not call."""
        origin = headers.get("origin")
        if origin is not None and not self.allows_origin(origin):
            raise Refusal("not_allowed", "this origin may not call the gateway: add it to `gateway: {cors: [...]}`")

    def allows_origin(self, origin: str) -> bool:
        return "*" in self.settings.cors or origin.lower() in self.settings.cors

    def _check_host(self, headers: Headers) -> None:
        """A foreign host name that resolves to 127.0.0.1 (DNS rebinding) lets a web page reach this machine."""
        host = headers.get("host", "")
        if host and not is_loopback(host):
            raise Refusal(
                "not_allowed",
                f"the gateway serves this machine only, as 127.0.0.1 or localhost, not as {host[:80]!r}: "
                "`openfall keys new NAME` lets it serve others with a key, "
                "`gateway: {open: yes}` without one",
            )


def is_handed_on(request: Request) -> bool:
    """Whether a proxy hands a request on: its caller is somewhere else. HTTP/1.0 is a sign of one too: nginx speaks it
    without further settings, and names no client then."""
    return request.scope.get("http_version") == "1.0" or any(name in request.headers for name in _PROXY_HEADERS)


def _check_proxy(request: Request) -> None:
    """Without this a gateway behind a proxy would be open to everybody once Redis has lost its keys."""
    if is_handed_on(request):
        raise Refusal(
            "not_allowed",
            "the gateway has no keys and serves this machine only. The headers of this request, or HTTP/1.0, are those "
            "of a proxy: `openfall keys new NAME` lets it serve others with a key, `gateway: {open: yes}` without one",
        )


def presented_key(headers: Headers) -> str:
    """The key that a request carries, in any of the three headers that SDKs use. Empty: none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip() or headers.get("api-key", "").strip()


def _unknown(secret: str) -> str:
    """The message for a key that is not known. It names what does not belong to a key, never the key."""
    if PREFIX in secret and not secret.startswith(PREFIX):
        return f"a key begins with `{PREFIX}`: send it without quotes, `Bearer` or other words before it"
    return "this key is unknown here, or was revoked: `openfall keys list` names the known ones"


def _without_key(headers: Headers) -> str:
    """The message for a request without a key. It names the header that has one all the same, never the key."""
    wanted = "send `Authorization: Bearer of_...`"
    for name, value in headers.items():
        if PREFIX in value:
            where = "Authorization lacks the word `Bearer`" if name.lower() == "authorization" else f"it is in {name}"
            return f"this gateway reads no key there ({where}): {wanted}"
    return f"this gateway needs a key: {wanted} (`openfall keys new NAME` prints one)"


def unreadable_keys(keys: KeyRing) -> str:
    """The end of a message while keys in Redis cannot be read; empty: all can."""
    if not keys.unreadable:
        return ""
    number = len(keys.unreadable)
    subject = "1 key in Redis" if number == 1 else f"{number} keys in Redis"
    return f". {subject} cannot be read: `openfall keys list` names {'it' if number == 1 else 'them'} and the remedy"


@lru_cache(256)
def is_loopback(address: str) -> bool:
    """Whether `HOST` or `HOST:PORT` is this machine."""
    try:
        host = urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_allowed(key: ClientKey, name: str) -> None:
    """Raises `Refusal` if a key may not ask for a name."""
    if key.names and name not in key.names:
        allowed = ", ".join(key.names)
        raise Refusal(
            "not_allowed", f"the key {key.name!r} may not ask for {name!r}: it may ask for {allowed}", "model"
        )


def refuse_exposed(settings: GatewaySection, keys: KeyRing) -> str:
    """Why the gateway must not start: it would serve other machines without keys. Empty: it may."""
    exposed = [address for address in settings.listen if not is_loopback(address)]
    if not exposed or keys or settings.open:
        return ""
    return (
        f"{exposed[0]} can be reached from other machines, and there is no key: create one with `openfall keys new`"
        ", or set `gateway: {open: yes}` to serve everybody who reaches it"
    )
