"""The pages of the configuration: what is wrong with it or with what it names, and what is in force."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from starlette.responses import Response

from openfall.config import LoadedConfig, dump
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people, html_page
from openfall.producers.page.table_page import ShownTable, table_page

if TYPE_CHECKING:
    from openfall.producers.preflight_checks import CheckReport

FRESH_SECONDS = 5.0
"""Results that are not older are shown again: reloads of the page send a backend no further requests."""
NOTE = (
    "Checked by this gateway, with its file, its variables and its ways to the backends. On the machine of a worker, "
    "the command checks those of that machine. No check loads a model or costs money."
)


async def _check(config: LoadedConfig) -> CheckReport:
    from openfall.producers.preflight_checks import CheckReport, check_files, run_checks  # not at each start

    changed = await asyncio.to_thread(lambda: list(check_files(config)))
    return CheckReport([*changed, *[result async for result in run_checks(config)]])


async def _show_checks(exchange: Exchange, visitor: Visitor) -> Response:
    """Check what the configuration names."""
    config = exchange.config
    report = await exchange.gateway.shared_readings.fetch("preflight", FRESH_SECONDS, lambda: _check(config))
    about = f"{report.summary} On {socket.gethostname()}"
    shown = [ShownTable(report.table, note=NOTE)]
    return table_page(exchange, visitor, "Preflight", shown, command="openfall preflight", about=about)


async def _show_config(exchange: Exchange, visitor: Visitor) -> Response:
    """Show the configuration that the gateway has read, without secrets."""
    config = exchange.config
    text = await asyncio.to_thread(dump, config)
    return html_page(
        exchange, visitor, "config.html",
        text=text, origins=sorted(config.origins.items()), host=socket.gethostname(),
    )  # fmt: skip


_HTML = "text/html"
ENDPOINTS = (
    Endpoint(
        "GET", "/preflight", for_people(_show_checks), "The page of checks of the configuration.",
        public=True, media_type=_HTML,
    ),
    Endpoint(
        "GET", "/config", for_people(_show_config), "The page of the configuration in force.",
        public=True, media_type=_HTML,
    ),
)  # fmt: skip
