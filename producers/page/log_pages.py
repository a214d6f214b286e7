"""The pages of what has happened: the audit log, and the changes of breakers. And that of all models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import TEXT, Endpoint
from openfall.producers.job_request import parse_duration
from openfall.producers.log_tables import audit_table, breaker_history_table, breaker_table, inbox_table
from openfall.producers.model_table import model_table
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people
from openfall.producers.page.table_page import ShownTable, choice_bar, table_page
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.audit_log import read_entries
from openfall.router_core.state.breakers import breaker_history, list_breakers
from openfall.router_core.state.inbox import list_inboxes
from openfall.router_core.state.model_status import fetch_model_status

AUDIT_LINES, INBOX_SECONDS = 200, 10.0
SPANS = {"1h": "1 hour", "1d": "1 day", "7d": "7 days", "": "all that is kept"}


async def _show_audit(exchange: Exchange, visitor: Visitor) -> Response:
    """List what operators did."""
    store, since = exchange.client.store, exchange.request.query_params.get("since", "")
    since = since if since in SPANS else ""
    start = await store.server_time() - parse_duration(since, "since") if since else None
    entries = await read_entries(store.connection, AUDIT_LINES, start)
    return table_page(
        exchange, visitor, "Audit", [ShownTable(audit_table(entries))],
        about=f"what operators did, the newest first: {SPANS[since]}",
        command=f"openfall audit{f' --since {since}' if since else ''} --limit {AUDIT_LINES}",
        bars=[choice_bar("How far back", "/audit", "since", SPANS, {"since": since})],
    )  # fmt: skip


async def _show_breakers(exchange: Exchange, visitor: Visitor) -> Response:
    """List breakers and their changes."""
    llm = exchange.client
    link, catalog = llm.store.connection, llm.config.catalog
    now, breakers, changes = await asyncio.gather(llm.store.server_time(), list_breakers(link), breaker_history(link))
    tables = [
        ShownTable(breaker_table(breakers, catalog, now), "Now", "Every breaker that is not listed is closed."),
        ShownTable(breaker_history_table(changes, catalog), "The last changes, the newest first"),
    ]
    return table_page(exchange, visitor, "Breakers", tables, command="openfall breakers --history")


async def _show_inboxes(exchange: Exchange, visitor: Visitor) -> Response:
    """List the inboxes with unacknowledged results. What they contain is not shown."""
    link = exchange.gateway.client.store.connection
    inboxes = await exchange.gateway.shared_readings.fetch("inboxes", INBOX_SECONDS, lambda: list_inboxes(link))
    note = "A program that reads an inbox acknowledges each result. One that is never read uses memory of Redis until "
    note += "its results expire (retention: unread)."
    return table_page(
        exchange, visitor, "Inboxes", [ShownTable(inbox_table(inboxes), note=note)], command="openfall inbox"
    )


def _actions(catalog: Catalog, model: str) -> Sequence[str]:
    """Only what runs on machines of one's own is loaded and unloaded."""
    return ("check-model", "load-model", "unload-model") if catalog.is_local(model) else ("check-model",)


async def _show_models(exchange: Exchange, visitor: Visitor) -> Response:
    """List the models at their backends."""
    llm = exchange.client
    rows = await fetch_model_status(llm.store.connection, llm.config.catalog)
    table = model_table(llm.config.catalog, rows)
    note = "Calls, failures, times and cost are those of today (UTC). Check sends a test prompt to a model that is in "
    note += "memory and costs nothing, and examines the endpoint of any other."
    shown = [ShownTable(table, note=note, each=[_actions(llm.config.catalog, name) for name in table.subjects])]
    return table_page(exchange, visitor, "Models", shown, command="openfall models")


_HTML = "text/html"
ENDPOINTS = (
    Endpoint(
        "GET", "/audit", for_people(_show_audit), "The page of the audit log.",
        public=True, query={"since": TEXT}, media_type=_HTML,
    ),
    Endpoint(
        "GET", "/breaker", for_people(_show_breakers), "The page of breakers and their changes.",
        public=True, media_type=_HTML,
    ),
    Endpoint("GET", "/inbox", for_people(_show_inboxes), "The page of inboxes.", public=True, media_type=_HTML),
    Endpoint("GET", "/model", for_people(_show_models), "The page of models.", public=True, media_type=_HTML),
)  # fmt: skip
