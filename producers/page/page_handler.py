"""Pages for people: a handler that knows its visitor, errors that are pages, notices of what was done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from starlette.responses import HTMLResponse, RedirectResponse, Response

from openfall.producers.gateway.error_table import Refusal, refusal_of_error
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import json_response
from openfall.producers.page.page_access import (
    SignInNeeded,
    Visitor,
    cookie_name,
    cookie_path,
    key_of,
    read_cookie,
    set_cookie,
    visitor_of,
)
from openfall.producers.page.page_actions import ACTIONS
from openfall.producers.page.rendering import render
from openfall.producers.page.static_files import STATIC

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer a browser names no origin of a form
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
NOTICE_COOKIE = "openfall_notice"
NOTICE_SECONDS = 30
SIGN_IN = "/page/sign-in"
MAX_FIELDS = 50


class Link(NamedTuple):
    path: str
    label: str


LINKS: tuple[Link, ...] = (
    Link("/", "Now"),
    Link("/job", "Jobs"),
    Link("/batch", "Batches"),
    Link("/outbox", "Outbox"),
    Link("/model", "Models"),
    Link("/statistics", "Statistics"),
    Link("/cost", "Cost"),
    Link("/preflight", "Checks"),
    Link("/keys", "Keys"),
    Link("/try", "Try"),
    Link("/rq", "rq"),
    Link("/runbook", "Runbook"),
    Link("/docs", "API"),
)
"""The pages that the head of each page names."""

PageHandler = Callable[[Exchange, Visitor], Awaitable[Response]]


def for_people(handler: PageHandler) -> Callable[[Exchange], Awaitable[Response]]:
    """A handler that knows its visitor. Its errors are pages, or for the script of the page a message."""

    async def handle(exchange: Exchange) -> Response:
        try:
            visitor = await visitor_of(exchange)
            exchange.caller = key_of(exchange, visitor)
            return await handler(exchange, visitor)
        except SignInNeeded:
            if wants_json(exchange):
                return json_response({"message": "sign in first"}, 401)
            return redirect(exchange, SIGN_IN)
        except Exception as error:
            refusal = refusal_of_error(error)
            if refusal is None:
                raise
            exchange.refused, status = refusal.cause, refusal.status(exchange.surface)
            if wants_json(exchange):
                return json_response({"message": refusal.message}, status)
            return html_page(
                exchange, None, "message.html", status, title="That is not possible", lines=[refusal.message]
            )

    return handle


def wants_json(exchange: Exchange) -> bool:
    return exchange.request.headers.get("accept", "") == "application/json"


def html_page(
    exchange: Exchange, visitor: Visitor | None, template: str, status: int = 200, **values: Any
) -> HTMLResponse:
    """A whole page from a template, with the notice of the last action."""
    notice = unquote(read_cookie(exchange, NOTICE_COOKIE))
    html = render(
        template,
        root_path=exchange.settings.root_path,
        visitor=visitor,
        links=LINKS,
        path=exchange.path.path,
        static=STATIC,
        notice=notice,
        actions=ACTIONS,
        **values,
    )
    response = HTMLResponse(html, status, HEADERS)
    if visitor is not None and visitor.is_new:
        set_cookie(exchange, response, visitor.cookie)
    if notice:
        response.delete_cookie(cookie_name(exchange, NOTICE_COOKIE), cookie_path(exchange))
    return response


def redirect(exchange: Exchange, path: str) -> Response:
    """Send a browser to a path of this gateway."""
    return RedirectResponse(exchange.settings.root_path + path, 303, HEADERS)


def back_with_notice(exchange: Exchange, path: str, notice: str) -> Response:
    """Send a browser back to a page of ours, which says what happened."""
    response = redirect(exchange, own_path(path))
    secure = exchange.request.url.scheme == "https"
    response.set_cookie(
        cookie_name(exchange, NOTICE_COOKIE), quote(notice[:300]), NOTICE_SECONDS, path=cookie_path(exchange),
        secure=secure, httponly=True, samesite="strict",
    )  # fmt: skip
    return response


def own_path(path: str) -> str:
    """A path of this gateway; `/` in place of anything that leads elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"


async def read_form(exchange: Exchange) -> dict[str, str]:
    """The fields of a form. Raises `Refusal`."""
    return dict(await read_fields(exchange, MAX_FIELDS))


async def read_fields(exchange: Exchange, most: int) -> list[tuple[str, str]]:
    """The fields of a form in their order, also several of one name. Raises `Refusal`."""
    body = await exchange.read_bytes()
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=most)
    except ValueError:
        raise Refusal("too_large", f"a form of the page has at most {most} fields") from None
