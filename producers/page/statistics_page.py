"""The pages of statistics and of cost: what `openfall stats`, `usage` and `spend` print."""

from __future__ import annotations

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import TEXT, Endpoint
from openfall.producers.money_tables import savings_table, spend_table, unexpected_table, usage_table
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people
from openfall.producers.page.table_page import ShownTable, TypedChoice, choice_bar, table_page
from openfall.producers.shell_command import shell_word
from openfall.producers.statistics_table import fetch_table, statistics_table
from openfall.producers.table import Table
from openfall.router_core.state.ledger import last_days, ledger_day
from openfall.router_core.state.ledger_sums import UsageKey, fetch_usage
from openfall.router_core.state.money_report import read_money
from openfall.router_core.state.savings_rows import savings_rows
from openfall.router_core.state.statistics import StatisticsKey

DAY_SECONDS = 86400
DAYS = 7
"""Days that the page of statistics offers as links."""
SPANS = {"1": "today", "7": "7 days", "30": "30 days", "100": "100 days"}
"""Days of the ledger that the page of cost offers."""
VIEWS = {
    "": "calls",
    **{key.value: f"by {key}" for key in UsageKey},
    "saved": "saved",
    "unexpected": "in place of free models",
}
NOTES = {
    "": "As fallback: answers in place of the first model of the configured chain. Left home: those of them that came "
    "from the cloud although a local model stands earlier in the chain, or were paid by the token although a free one "
    "does.",
    "saved": "Estimated against live prices: tokens as the model that answered counted them.",
    "unexpected": "Metered calls in place of models that cost nothing.",
}
BY = {key.value: f"by {key}" for key in StatisticsKey}
BY_NOTE = "Every attempt is a call. Half of the calls are below p50, and 95 % below p95."


async def _show_statistics(exchange: Exchange, visitor: Visitor) -> Response:
    """Show the jobs that ended in a day or a month."""
    llm, query = exchange.client, exchange.request.query_params
    now = await llm.store.server_time()
    today = ledger_day(now)
    by, period = query.get("by", ""), query.get("period", "").strip() or today
    key = StatisticsKey(by) if by in set(StatisticsKey) else StatisticsKey.MODEL
    shown, problem = [], ""
    try:
        rows = await fetch_table(llm.store.connection, key, period)
        note = "Jobs that ended in this time. Times are from acceptance to the reply; 95 % of them are at most p95."
        shown = [ShownTable(statistics_table(rows, key, period), note=note if rows else "")]
    except ValueError as error:
        problem = str(error)
    current = {"by": key.value, "period": period}
    span = "month" if len(period) == len(today[:7]) else "day"
    periods = [today[:7], *(ledger_day(now - DAY_SECONDS * back) for back in range(DAYS))]
    return table_page(
        exchange, visitor, "Statistics", shown,
        about=f"by {key}, {period} (UTC)", problem=problem,
        command=f"openfall stats --by {key} --{span} {shell_word(period)}",
        bars=[
            choice_bar("What a row is for", "/statistics", "by", BY, current),
            choice_bar("Days and months", "/statistics", "period", periods, current),
        ],
        typed=TypedChoice("period", "Another day or month", today[:7], {"by": key.value}),
    )  # fmt: skip


async def _show_cost(exchange: Exchange, visitor: Visitor) -> Response:
    """Show the calls of the last days and what they cost."""
    query = exchange.request.query_params
    view = query.get("show", "") if query.get("show", "") in VIEWS else ""
    days = query.get("days", "") if query.get("days", "") in SPANS else "1"
    current = {"show": view, "days": days}
    options = f"--by {view}" if view in set(UsageKey) else f"--{view}" if view else ""
    command = ("openfall", "usage" if view in set(UsageKey) else "spend", options, f"--days {days}")
    note = NOTES.get(view, BY_NOTE)
    return table_page(
        exchange, visitor, "Cost", [ShownTable(await _cost_table(exchange, view, int(days)), note=note)],
        about=f"{VIEWS[view]}, {SPANS[days]} (UTC)", command=" ".join(filter(None, command)),
        bars=[
            choice_bar("What is shown", "/cost", "show", VIEWS, current),
            choice_bar("How far back", "/cost", "days", SPANS, current),
        ],
    )  # fmt: skip


async def _cost_table(exchange: Exchange, view: str, days: int) -> Table:
    llm = exchange.client
    link, catalog, now = llm.store.connection, llm.config.catalog, await llm.store.server_time()
    if view in set(UsageKey):
        return usage_table(await fetch_usage(link, last_days(now, days), UsageKey(view)), UsageKey(view))
    report = await read_money(link, catalog, now, days)
    if view == "saved":
        return savings_table(savings_rows(report.entries, catalog))
    return unexpected_table(report.unexpected) if view == "unexpected" else spend_table(report.entries)


_HTML = "text/html"
ENDPOINTS = (
    Endpoint(
        "GET", "/statistics", for_people(_show_statistics), "The page of statistics.",
        public=True, query={"by": TEXT, "period": TEXT}, media_type=_HTML,
    ),
    Endpoint(
        "GET", "/cost", for_people(_show_cost), "The page of calls and their cost.",
        public=True, query={"show": TEXT, "days": TEXT}, media_type=_HTML,
    ),
)  # fmt: skip
