"""Which hosts a webhook may go to.

A producer applies these rules before it accepts a job; a worker applies them again before it posts, to the addresses
that the host name resolves to.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_Address = IPv4Address | IPv6Address

_INTERNAL = tuple(
    ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared by providers (RFC 6598); Alibaba Cloud's metadata service is at 100.100.100.200
        "168.63.129.16/32",  # Azure's platform services, reachable from its virtual machines
        "192.0.0.0/24",  # special purposes (RFC 6890); Oracle Cloud's metadata service is at 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays
        "2002::/16",  # 6to4: contains an IPv4 address
        "2001::/32",  # Teredo: contains an IPv4 address
        "64:ff9b:1::/48",  # translation inside a network (RFC 8215)
    )
)
"""Networks that some version of `ipaddress` calls global, and that can lead to internal services."""

_NAT64 = ip_network("64:ff9b::/96")


def is_public_address(address: str) -> bool:
    """Whether an address, and the IPv4 address that it may contain, is on the public Internet."""
    return _is_public(ip_address(address.partition("%")[0]))


def is_internal_host(host: str) -> bool:
    """Whether a host, before any lookup, is `localhost` or spells an address that is not public.

    Resolvers accept an IPv4 address also as `127.1`, `0x7f000001` or `2130706433`.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _parse(host)
    return address is not None and not _is_public(address)


def is_allowed_host(host: str, port: int, patterns: Iterable[str]) -> bool:
    """Whether a host in lower case matches one of the shell patterns over `host` or `host:port`."""
    return any(fnmatchcase(name, pattern.lower()) for pattern in patterns for name in (host, f"{host}:{port}"))


def _parse(host: str) -> _Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(address.ipv4_mapped)
        if address in _NAT64:
            return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.is_site_local:
            return False
    if any(address in network for network in _INTERNAL if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    )
