"""Who looks at the page, whether they may act, and whether a request is really theirs."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from openfall.config import NoRedis
from openfall.config.gateway_settings import PageKind
from openfall.producers.gateway.access import is_handed_on, is_loopback
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.router_core.state.client_keys import OF_THE_PAGE, ClientKey, PageRight, digest_of
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.page_sessions import SESSION_SECONDS, session_key

COOKIE = "openfall_session"
LOCAL_NAME = "local"
"""In the audit log: a user of the machine on which a gateway without keys runs."""
SESSION_CHECK_SECONDS = 1.0
"""After this an open page goes on without an answer of Redis: it is to say that Redis is away."""


class SignInNeeded(Exception):
    """The page needs a sign-in with a key."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person at the page. `name` stands in the audit log: that of their key. `cookie` is the secret of their session;
    of a visitor without a sign-in it only ties forms to the browser. `key_digest`: empty without a sign-in."""

    name: str
    right: PageRight
    cookie: str
    is_new: bool = False
    key_digest: str = ""

    @property
    def may_act(self) -> bool:
        return self.right is PageRight.ACT

    @property
    def is_signed_in(self) -> bool:
        return bool(self.key_digest)

    @property
    def token(self) -> str:
        """What each form must send back: another site cannot know it."""
        return digest_of(f"form:{self.cookie}")


def check_page(exchange: Exchange) -> None:
    """Raises `Refusal` at a gateway without a page."""
    if exchange.settings.page is PageKind.NONE:
        raise Refusal("unknown_url", "this gateway has no page: `gateway: {page: ...}` is none")


async def visitor_of(exchange: Exchange) -> Visitor:
    """Who sent a request. Raises `SignInNeeded`, `Refusal`, `StoreError`."""
    gateway, cookie = exchange.gateway, read_cookie(exchange, COOKIE)
    check_page(exchange)
    if has_foreign_origin(exchange):
        raise Refusal("not_allowed", "the page is read by a browser at its own address, and by no other web page")
    if not gateway.keys and is_local(exchange):
        return Visitor(LOCAL_NAME, _limited(exchange, PageRight.ACT), cookie or secrets.token_urlsafe(32), not cookie)
    key = await session_key(exchange.link, cookie, gateway.keys) if cookie else None
    if key is None or key.page_right is None:
        raise SignInNeeded
    return Visitor(key.name, _limited(exchange, key.page_right), cookie, key_digest=key.digest)


def _limited(exchange: Exchange, right: PageRight) -> PageRight:
    return PageRight.READ if exchange.settings.page is PageKind.READ else right


async def may_still_read(exchange: Exchange, visitor: Visitor) -> bool:
    """Whether an open page of a visitor may go on: they have not signed out, their key was not revoked, no key was
    created since, and the gateway still has a page. While Redis is away nothing is known of sign-ins, and the keys
    alone decide."""
    keys = exchange.gateway.keys
    if exchange.gateway.settings.page is PageKind.NONE:  # a changed configuration may have said so
        return False
    if not visitor.is_signed_in or visitor.key_digest not in keys.by_digest:
        return not visitor.is_signed_in and not keys
    try:
        async with asyncio.timeout(SESSION_CHECK_SECONDS):
            return await session_key(exchange.link, visitor.cookie, keys) is not None
    except (StoreError, NoRedis, TimeoutError):
        return True


def is_local(exchange: Exchange) -> bool:
    """Whether a request is of this machine, and was not handed on by a proxy."""
    request = exchange.request
    client = request.client.host if request.client is not None else ""
    return (
        not is_handed_on(request)
        and is_loopback(f"[{client}]" if ":" in client else client)
        and is_loopback(request.headers.get("host", ""))
    )


def check_origin(exchange: Exchange) -> None:
    """Raises `Refusal` for a form of another site. Browsers name the origin of each form."""
    site = exchange.request.headers.get("sec-fetch-site", "same-origin")
    if has_foreign_origin(exchange) or site != "same-origin":
        raise Refusal("not_allowed", "this form is of another site")


def has_foreign_origin(exchange: Exchange) -> bool:
    """Whether a script or a form of another origin sent a request. `gateway: cors` is for the APIs alone."""
    headers = exchange.request.headers
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def check_form(exchange: Exchange, visitor: Visitor, form: Mapping[str, str]) -> None:
    """Raises `Refusal` unless a form is one of this page, shown to this visitor."""
    check_origin(exchange)
    if not hmac.compare_digest(form.get("token", "").encode(), visitor.token.encode()):
        raise Refusal("not_allowed", "this form is out of date: reload the page, and press again")


def key_of(exchange: Exchange, visitor: Visitor) -> ClientKey:
    """The key of a visitor, whose limits hold for their questions and whose name their jobs have."""
    key = exchange.gateway.keys.by_digest.get(visitor.key_digest)
    return key or ClientKey(name=OF_THE_PAGE, digest="")


def cookie_path(exchange: Exchange) -> str:
    """A browser sends the cookies of the page to these paths only: other programs at its host do not get them."""
    return exchange.settings.root_path or "/"


def cookie_name(exchange: Exchange, name: str) -> str:
    """A cookie of a page at the root of the same host comes to this page too, so the names of the two differ."""
    return name + exchange.settings.root_path.replace("/", ".")


def read_cookie(exchange: Exchange, name: str) -> str:
    return exchange.request.cookies.get(cookie_name(exchange, name), "")


def set_cookie(exchange: Exchange, response: Response, cookie: str) -> None:
    """Give a browser its session. Scripts cannot read it, and other sites cannot send it."""
    secure = exchange.request.url.scheme == "https"
    response.set_cookie(
        cookie_name(exchange, COOKIE), cookie, SESSION_SECONDS, path=cookie_path(exchange),
        secure=secure, httponly=True, samesite="strict",
    )  # fmt: skip


def is_administrator(exchange: Exchange, visitor: Visitor) -> bool:
    """Whether a visitor manages keys: with the key of an administrator, or at the machine of a gateway without keys."""
    key = exchange.gateway.keys.by_digest.get(visitor.key_digest)
    return visitor.may_act and (key.admin if visitor.is_signed_in and key else not visitor.is_signed_in)


def check_right(exchange: Exchange, visitor: Visitor, *, needs_administrator: bool = False) -> None:
    """Raises `Refusal` for a visitor that may only read, and for one without the right of an administrator where it is
    needed."""
    if needs_administrator and visitor.may_act and not is_administrator(exchange, visitor):
        raise Refusal("not_allowed", f"the key {visitor.name} is no administrator's: only those manage keys")
    if visitor.may_act:
        return
    if exchange.settings.page is PageKind.READ:
        raise Refusal("not_allowed", "this page is for reading only: `gateway: {page: act}` changes that")
    raise Refusal("not_allowed", f"the key {visitor.name} may read this page, and not act")
