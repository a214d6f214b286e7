"""The endpoints of the page: `/`, its live sections, its files."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from openfall.config.gateway_settings import PageKind
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import TEXT, Endpoint
from openfall.producers.page import (
    action_endpoints,
    batch_page,
    job_pages,
    key_pages,
    log_pages,
    memory_page,
    preflight_page,
    rq_pages,
    runbook_page,
    statistics_page,
    try_page,
)
from openfall.producers.page.front_page import ALL_SECTIONS, OUTBOX_SECTIONS, SECTIONS
from openfall.producers.page.live_page import LivePage
from openfall.producers.page.page_access import SignInNeeded, Visitor, may_still_read, visitor_of
from openfall.producers.page.page_handler import for_people, html_page
from openfall.producers.page.section import Section
from openfall.producers.page.snapshot_reader import SnapshotReader
from openfall.producers.page.static_files import static_response

MAX_DIGITS = 16
"""Of the version of a section."""
STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}


def live_page(exchange: Exchange) -> LivePage:
    """The one reader of this process of the gateway."""
    gateway = exchange.gateway
    if gateway.live_page is None:
        store = exchange.client.store
        reader = SnapshotReader(store.connection, gateway.config.catalog, lambda: store.away_since)
        gateway.live_page = LivePage(reader, ALL_SECTIONS, gateway.stopping, gateway.settings.root_path)
    return gateway.live_page


async def show_sections(
    exchange: Exchange, visitor: Visitor, sections: Sequence[Section], title: str, command: str
) -> Response:
    """A page of live sections. `command`: what shows the same on the command line."""
    live = live_page(exchange)
    fragments = await live.fragments([section.name for section in sections])
    snapshot = await live.snapshot()
    return html_page(
        exchange,
        visitor,
        "live.html",
        title=title,
        command=command,
        now=snapshot.at,
        sections=sections,
        shown=list(zip(sections, fragments, strict=True)),
    )


async def _show_front_page(exchange: Exchange, visitor: Visitor) -> Response:
    return await show_sections(exchange, visitor, SECTIONS, "Now", "openfall top")


async def _show_outbox(exchange: Exchange, visitor: Visitor) -> Response:
    return await show_sections(exchange, visitor, OUTBOX_SECTIONS, "Outbox", "openfall outbox")


_front_page = for_people(_show_front_page)


async def root(exchange: Exchange) -> Response:
    """The page for a browser; for any other program what an Ollama says."""
    if exchange.settings.page is not PageKind.NONE and "text/html" in exchange.request.headers.get("accept", ""):
        return await _front_page(exchange)
    return PlainTextResponse("Ollama is running")


async def live_sections(exchange: Exchange) -> Response:
    """Stream the sections of a page whenever they change."""
    try:
        visitor = await visitor_of(exchange)
    except SignInNeeded:
        raise Refusal("no_key", "sign in at the page first") from None
    names, versions = _wanted(exchange)
    events = live_page(exchange).events(names, versions, lambda: may_still_read(exchange, visitor))
    return StreamingResponse(events, headers=STREAM_HEADERS, media_type="text/event-stream")


def _wanted(exchange: Exchange) -> tuple[list[str], dict[str, int]]:
    """The sections that a page shows, and the version of each that it has. Raises `Refusal`."""
    query = exchange.request.query_params
    names = [name for name in query.get("sections", "").split(",") if name]
    known = {section.name for section in ALL_SECTIONS}
    if not names or not known.issuperset(names):
        raise Refusal("bad_request", "`sections` must be names of sections of the page", "sections")
    versions = [
        int(text) if text.isdecimal() and len(text) < MAX_DIGITS else 0 for text in query.get("versions", "").split(",")
    ]
    return names, dict(zip(names, versions, strict=False))


async def static_file(exchange: Exchange) -> Response:
    """Return a file of the page."""
    return static_response(exchange.request.path_params["name"])


_HTML = "text/html"
ENDPOINTS = (
    Endpoint(
        "GET",
        "/",
        root,
        "The page; for a program what an Ollama says.",
        public=True,
        media_type=_HTML,
        other_type="text/plain",
    ),
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
        "GET",
        "/page/ask/{action}",
        action_endpoints.ask,
        "The question before an action.",
        public=True,
        media_type=_HTML,
    ),
    Endpoint(
        "POST",
        "/page/act/{action}",
        action_endpoints.act,
        "Act, as a person at the page.",
        public=True,
        media_type=_HTML,
    ),
    Endpoint("GET", "/page/sign-in", action_endpoints.show_sign_in, "Ask for a key.", public=True, media_type=_HTML),
    Endpoint(
        "POST", "/page/sign-in", action_endpoints.sign_in, "Open a session for a key.", public=True, media_type=_HTML
    ),
    Endpoint("POST", "/page/sign-out", action_endpoints.sign_out, "End a session.", public=True, media_type=_HTML),
    Endpoint("GET", "/outbox", for_people(_show_outbox), "The page of the outbox.", public=True, media_type=_HTML),
    *job_pages.ENDPOINTS,
    *batch_page.ENDPOINTS,
    *key_pages.ENDPOINTS,
    *log_pages.ENDPOINTS,
    *memory_page.ENDPOINTS,
    *preflight_page.ENDPOINTS,
    *rq_pages.ENDPOINTS,
    *runbook_page.ENDPOINTS,
    *statistics_page.ENDPOINTS,
    *try_page.ENDPOINTS,
    Endpoint(
        "GET", "/page/static/{name}", static_file, "Return a file of the page.", public=True, media_type="text/css"
    ),
)
