"""The page of statistics: the jobs of a day or a month, as `openfall stats` has them."""

from __future__ import annotations

from starlette.responses import Response

from openfall.producers.amounts import format_cost
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import TEXT, Endpoint
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people, html_page
from openfall.producers.statistics_table import StatisticsRow, fetch_table
from openfall.router_core.state.model_status import ledger_day
from openfall.router_core.state.statistics import StatisticsKey

DAY_SECONDS = 86400
DAYS = 7
"""Days that the page offers as links."""


async def _show_statistics(exchange: Exchange, visitor: Visitor) -> Response:
    """Show a table of statistics."""
    llm, query = exchange.gateway.client, exchange.request.query_params
    now = await llm.store.server_time()
    today = ledger_day(now)
    by = query.get("by", "")
    chosen = StatisticsKey(by) if by in set(StatisticsKey) else StatisticsKey.MODEL
    period = query.get("period", "").strip() or today
    rows: list[StatisticsRow] = []
    problem = ""
    try:
        rows = await fetch_table(llm.store.connection, chosen, period)
    except ValueError as error:
        problem = str(error)
    return html_page(
        exchange,
        visitor,
        "statistics.html",
        status=400 if problem else 200,
        by=chosen.value,
        keys=[key.value for key in StatisticsKey],
        period=period,
        periods=[today[:7], *(ledger_day(now - DAY_SECONDS * back) for back in range(DAYS))],
        rows=[(row, _cost(row)) for row in rows],
        most=max((row.jobs.requests for row in rows), default=0),
        problem=problem,
    )


def _cost(row: StatisticsRow) -> str:
    return "–" if row.nusd is None else format_cost(row.nusd / 1e9, row.unpriced)


ENDPOINTS = (
    Endpoint(
        "GET", "/statistics", for_people(_show_statistics), "The page of statistics.",
        public=True, query={"by": TEXT, "period": TEXT}, media_type="text/html",
    ),
)  # fmt: skip
