"""The endpoints of the page: `/`, its live sections, its files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse

from openfall.producers.gateway.error_table import Refusal, refusal_of_error
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import TEXT, Endpoint
from openfall.producers.page.front_page import SECTIONS
from openfall.producers.page.live_page import LivePage
from openfall.producers.page.rendering import render
from openfall.producers.page.section import Section
from openfall.producers.page.snapshot_reader import SnapshotReader
from openfall.producers.page.static_files import STATIC, static_response
from openfall.producers.page.visitor import Visitor, visitor_of

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}


class Link(NamedTuple):
    path: str
    label: str


LINKS: tuple[Link, ...] = (Link("/", "Now"), Link("/docs", "API"))
"""The pages that the head of each page names."""

PageHandler = Callable[[Exchange, Visitor], Awaitable[Response]]


def live_page(exchange: Exchange) -> LivePage:
    """The one reader of this process of the door."""
    gateway = exchange.gateway
    if gateway.live_page is None:
        link = gateway.client.store.connection
        gateway.live_page = LivePage(SnapshotReader(link, gateway.config.catalog), SECTIONS, gateway.stopping)
    return gateway.live_page


def for_people(handler: PageHandler) -> Callable[[Exchange], Awaitable[Response]]:
    """A handler that knows its visitor, and whose errors are pages."""

    async def handle(exchange: Exchange) -> Response:
        try:
            return await handler(exchange, visitor_of(exchange))
        except Exception as error:
            refusal = refusal_of_error(error)
            if refusal is None:
                raise
            status = refusal.status(exchange.surface)
            return html_page(
                exchange, None, "message.html", status, title="That is not possible", lines=[refusal.message]
            )

    return handle


def html_page(
    exchange: Exchange, visitor: Visitor | None, template: str, status: int = 200, **values: Any
) -> HTMLResponse:
    """A whole page from a template."""
    html = render(template, visitor=visitor, links=LINKS, path=exchange.path.path, static=STATIC, **values)
    return HTMLResponse(html, status, HEADERS)


async def show_sections(exchange: Exchange, visitor: Visitor, sections: Sequence[Section], title: str) -> Response:
    """A page of live sections."""
    live = live_page(exchange)
    fragments = await live.fragments([section.name for section in sections])
    snapshot = await live.snapshot()
    return html_page(
        exchange,
        visitor,
        "live.html",
        title=title,
        now=snapshot.now,
        sections=sections,
        shown=list(zip(sections, fragments, strict=True)),
    )


async def _show_front_page(exchange: Exchange, visitor: Visitor) -> Response:
    return await show_sections(exchange, visitor, SECTIONS, "openfall · now")


_front_page = for_people(_show_front_page)


async def root(exchange: Exchange) -> Response:
    """The page for a browser; for any other program what an Ollama says."""
    if "text/html" in exchange.request.headers.get("accept", ""):
        return await _front_page(exchange)
    return PlainTextResponse("Ollama is running")


async def live_sections(exchange: Exchange) -> Response:
    """Stream the sections of a page whenever they change."""
    visitor_of(exchange)
    names, versions = _wanted(exchange)
    events = live_page(exchange).events(names, versions)
    return StreamingResponse(events, headers=STREAM_HEADERS, media_type="text/event-stream")


def _wanted(exchange: Exchange) -> tuple[list[str], dict[str, int]]:
    """The sections that a page shows, and the version of each that it has. Raises `Refusal`."""
    query = exchange.request.query_params
    names = [name for name in query.get("sections", "").split(",") if name]
    known = {section.name for section in SECTIONS}
    if not names or not known.issuperset(names):
        raise Refusal("bad_request", "`sections` must be names of sections of the page", "sections")
    versions = [int(text) if text.isdecimal() else 0 for text in query.get("versions", "").split(",")]
    return names, dict(zip(names, versions, strict=False))


async def static_file(exchange: Exchange) -> Response:
    """Return a file of the page."""
    return static_response(exchange.request.path_params["name"])


ENDPOINTS = (
    Endpoint("GET", "/", root, "The page; for a program what an Ollama says.", public=True, media_type="text/html"),
    Endpoint(
        "GET",
        "/page/live",
        live_sections,
        "Stream the sections of the page whenever they change.",
        public=True,
        streams=True,
        query={"sections": TEXT, "versions": TEXT},
        media_type="text/event-stream",
    ),
    Endpoint(
        "GET", "/page/static/{name}", static_file, "Return a file of the page.", public=True, media_type="text/css"
    ),
)
