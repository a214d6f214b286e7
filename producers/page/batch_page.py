"""The page of batches: those of the gateway, of every key, with their progress."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.gateway_batch_status import newest_gateway_batches
from openfall.producers.local_batches.run_status import batch_table, list_runs
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people, html_page
from openfall.producers.page.sections.batch_section import batch_rows

ROWS = 100
RUNS, RUNS_SECONDS = 10, 10.0
"""Batches of `openfall batch run` that are shown, and how old that reading may be: it reads their files."""


async def _show_batches(exchange: Exchange, visitor: Visitor) -> Response:
    """List the batches, the newest first."""
    llm = exchange.client
    rows = batch_rows(await newest_gateway_batches(llm.store.connection, ROWS))
    runs = await exchange.gateway.shared_readings.fetch("runs", RUNS_SECONDS, lambda: list_runs(llm, RUNS))
    return html_page(
        exchange, visitor, "batches.html",
        rows=rows, is_open=any(not row.has_ended for row in rows), now=await llm.store.server_time(),
        run_actions=[_actions(run) for run in runs],
        runs=batch_table(runs, "no batch was run there with this configuration"), host=socket.gethostname(),
    )  # fmt: skip


def _actions(run: Mapping[str, Any]) -> list[str]:
    """What may be pressed about a batch of this machine."""
    cancel = ["cancel-batch"] if run["waiting"] not in (0, "?") else []
    return cancel + (["retry-batch"] if run["retryable"] else [])


_HTML = "text/html"
ENDPOINTS = (
    Endpoint("GET", "/batch", for_people(_show_batches), "The page of batches.", public=True, media_type=_HTML),
)
