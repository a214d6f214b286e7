"""Where a post may go: which URLs, hosts and addresses. A URL that a producer names must not become a way into the
network of the workers."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from yarl import URL

_Address = IPv4Address | IPv6Address
_SPECIAL = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10",  # shared by providers (RFC 6598); a cloud's metadata is at 100.100.100.200
            "168.63.129.16/32",  # Azure's own services, from within a machine of theirs
            "192.0.0.0/24",  # special purposes (RFC 6890); a cloud's metadata is at 192.0.0.192
            "192.88.99.0/24",  # relays of 6to4
            "2002::/16",  # 6to4: an IPv4 address within
            "2001::/32",  # Teredo: the same
            "64:ff9b:1::/48",  # translation within a network (RFC 8215)
        ),
    )
)
"""What `ipaddress` takes for public, in one version of Python or another, and is not for us."""

_NAT64 = ip_network("64:ff9b::/96")


class UrlRefused(Exception):
    """Our own rules forbid it. The message has the remedy, and of the URL no more than host and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """Where posts may go. `allow`: shell patterns over `host` or `host:port`; empty: any. `private`: also addresses
    that are not public, and plain http. `credentials`: a URL may have a user and a password in it."""

    allow: tuple[str, ...] = ()
    private: bool = False
    credentials: bool = False


TRUSTED = UrlPolicy(private=True, credentials=True)
"""For addresses that the operator wrote down."""


def checked_url(url: str, rules: UrlPolicy) -> URL:
    """The URL, if it may be posted to as far as it can be told before its host is looked up; else `AddressRefused`."""
    try:
        parts = URL(url)
        host, port = (parts.host or "").rstrip(".").lower(), parts.port
    except ValueError:
        raise UrlRefused("it is no URL") from None
    if parts.scheme not in ("http", "https") or not host or port is None:
        raise UrlRefused("it is no http or https URL")
    if parts.scheme == "http" and not rules.private:
        remedy = "name it with https, or set `webhooks: private: yes`"
        raise UrlRefused(f"{host} would be called without encryption: {remedy}")
    if not rules.credentials and (parts.user is not None or parts.password is not None):
        raise UrlRefused(f"the URL at {host} has a user or a password in it: name it without")
    if rules.allow and not _fits(rules.allow, host, port):
        raise UrlRefused(f"{host}:{port} is not on the list of hosts: add it under `webhooks: allow`")
    return parts


def check_addresses(host: str, addresses: Iterable[str], rules: UrlPolicy) -> None:
    """Every address of a host must be one that may be called; else `AddressRefused`."""
    for address in addresses:
        if not rules.private and not is_public(address):
            remedy = "set `webhooks: private: yes` if that is meant"
            raise UrlRefused(f"{host} is at {address}, which is not a public address: {remedy}")


def _fits(patterns: Iterable[str], host: str, port: int) -> bool:
    return any(fnmatchcase(name, one.lower()) for one in patterns for name in (host, f"{host}:{port}"))


def host_of(url: str) -> str:
    """The host and port of a URL, which is what logs may show of it."""
    try:
        parts = URL(url)
        return f"{parts.host}:{parts.port}" if parts.host else "no host"
    except ValueError:
        return "no host"


def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a host, by the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the open Internet, and so is what is within it."""
    return _is_public(ip_address(address.partition("%")[0]))


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        if address in _NAT64:
            return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.is_site_local:
            return False
    if any(address in network for network in _SPECIAL if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    )
