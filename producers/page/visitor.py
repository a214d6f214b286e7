"""Who looks at the page, and whether they may act."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.producers.gateway.access import is_loopback
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person at the page. `name` stands in the audit log."""

    name: str
    may_act: bool


def visitor_of(exchange: Exchange) -> Visitor:
    """Who sent a request. Raises `Refusal`."""
    if not exchange.gateway.keys and is_local(exchange):
        return Visitor("local", may_act=False)
    raise Refusal("not_allowed", "the page is for this machine only")


def is_local(exchange: Exchange) -> bool:
    """Whether a request is of this machine, and was not handed on by a proxy."""
    request = exchange.request
    handed_on = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
    client = request.client.host if request.client is not None else ""
    return (
        not handed_on
        and is_loopback(f"[{client}]" if ":" in client else client)
        and is_loopback(request.headers.get("host", ""))
    )
