"""Which URLs and addresses a webhook may be posted to. A producer's URL must not reach into the workers' network."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yarl import URL

from openfall.router_core.webhook_hosts import is_allowed_host, is_public_address


class UrlRefused(Exception):
    """The policy forbids the URL. The message has the remedy, and shows only the host and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """Where webhooks may go. `allow`: shell patterns over `host` or `host:port`; empty allows every host.

    `allow_private` permits addresses that are not public, and plain http. `allow_credentials` permits a user and a
    password in the URL.
    """

    allow: tuple[str, ...] = ()
    allow_private: bool = False
    allow_credentials: bool = False


TRUSTED = UrlPolicy(allow_private=True, allow_credentials=True)
"""For the URLs in the operator's own configuration."""


def check_url(url: str, policy: UrlPolicy) -> URL:
    """Parse a URL and check it as far as possible before its host is looked up. Raises `UrlRefused`."""
    try:
        parts = URL(url)
        host, port = (parts.host or "").rstrip(".").lower(), parts.port
    except ValueError:
        raise UrlRefused("it is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or port is None:
        raise UrlRefused("it is not an http or https URL")
    if parts.scheme == "http" and not policy.allow_private:
        raise UrlRefused(f"{host} would be called without encryption: use https, or set `webhooks: private: yes`")
    if not policy.allow_credentials and (parts.user is not None or parts.password is not None):
        raise UrlRefused(f"the URL at {host} contains a user or a password: remove it")
    if policy.allow and not is_allowed_host(host, port, policy.allow):
        raise UrlRefused(f"{host}:{port} is not on the list of hosts: add it under `webhooks: allow`")
    return parts


def check_addresses(host: str, addresses: Iterable[str], policy: UrlPolicy) -> None:
    """Check every address of a host. Raises `UrlRefused` if one is not allowed."""
    for address in addresses:
        if not policy.allow_private and not is_public_address(address):
            remedy = "set `webhooks: private: yes` to allow it"
            raise UrlRefused(f"{host} is at {address}, which is not a public address: {remedy}")


def host_and_port(url: str) -> str:
    """The host and port of a URL: the part that logs may show."""
    try:
        parts = URL(url)
        return f"{parts.host}:{parts.port}" if parts.host else "no host"
    except ValueError:
        return "no host"


def resolve_host(host: str, port: int) -> Sequence[str]:
    """Every address of a host, from the system's resolver."""
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))
