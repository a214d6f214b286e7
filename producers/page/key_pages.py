"""The page of keys: what each may do; an administrator creates and revokes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, get_args

from starlette.responses import Response

from openfall.producers.errors import BadRequest
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.operations.key_admin import create_key
from openfall.producers.operations.operator import Operator
from openfall.producers.page.page_access import Visitor, check_form, check_right, is_administrator
from openfall.producers.page.page_handler import for_people, html_page, read_form
from openfall.producers.refused_table import refused_table
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.client_keys import ClientKey, PageRight, fetch_keys
from openfall.router_core.state.refused_requests import fetch_refused
from openfall.router_core.vocabulary import Urgency

_TEXTS = ("group", "urgency", "webhook", "page", "keepalive")
_NUMBERS = {"per_minute": "Requests a minute", "in_flight": "Requests at once"}
_SWITCHES = ("canned_reply", "admin")


async def _show_keys(exchange: Exchange, visitor: Visitor) -> Response:
    """List the keys."""
    return await _key_page(exchange, visitor, {}, "")


async def _key_page(exchange: Exchange, visitor: Visitor, typed: Mapping[str, str], problem: str) -> Response:
    now = await exchange.client.store.server_time()
    ring, refused = await asyncio.gather(fetch_keys(exchange.link), fetch_refused(exchange.link, now))
    return html_page(
        exchange,
        visitor,
        "keys.html",
        status=400 if problem else 200,
        keys=sorted(ring.by_digest.values(), key=lambda key: key.name),
        unreadable=ring.unreadable,
        may_manage=is_administrator(exchange, visitor),
        typed=typed,
        problem=problem,
        numbers=_NUMBERS,
        rights=[right.value for right in PageRight],
        urgencies=[urgency.value for urgency in Urgency],
        refused=refused_table(refused, now),
        keepalives=get_args(ClientKey.model_fields["keepalive"].annotation),
    )


async def _create(exchange: Exchange, visitor: Visitor) -> Response:
    """Create a key, and show it this once."""
    form = await read_form(exchange)
    check_form(exchange, visitor, form)
    check_right(exchange, visitor, needs_administrator=True)
    operator = Operator(exchange.client, visitor.name, "page")
    try:
        secret, key = await create_key(operator, form.get("name", "").strip(), **_rights(form))
    except (BadRequest, UnknownName, Refusal) as error:
        return await _key_page(exchange, visitor, form, str(error))
    return html_page(exchange, visitor, "new_key.html", key=key, secret=secret)


def _rights(form: Mapping[str, str]) -> dict[str, Any]:
    """What a key may do, as the form has it. A field that is empty is not set. Raises `BadRequest`."""
    rights: dict[str, Any] = {name: form[name].strip() for name in _TEXTS if form.get(name, "").strip()}
    for name, label in _NUMBERS.items():
        if typed := form.get(name, "").strip():
            if not typed.isdecimal() or not 0 < int(typed) < 10**9:
                raise BadRequest(f"{label}: {typed[:20]!r} is no whole number above 0")
            rights[name] = int(typed)
    rights |= {name: name in form for name in _SWITCHES}
    return {**rights, "names": tuple(filter(None, (name.strip() for name in form.get("names", "").split(","))))}


_HTML = "text/html"
ENDPOINTS = (
    Endpoint("GET", "/keys", for_people(_show_keys), "The page of keys.", public=True, media_type=_HTML),
    Endpoint("POST", "/keys", for_people(_create), "Create a key, as an administrator.", public=True, media_type=_HTML),
)
