"""The page of the memory of the cards: a day, a month or a year, as `openfall cards --memory` has it."""

from __future__ import annotations

from enum import StrEnum

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import TEXT, Endpoint
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people, html_page
from openfall.producers.page.sections.card_section import line_of
from openfall.producers.page.sections.memory_line import HEIGHT, WIDTH
from openfall.producers.page.sources import fetch_cards_now
from openfall.router_core.state.card_memory import DAY_SECONDS


class Span(StrEnum):
    """How far back the page goes."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"

    @property
    def days(self) -> int:
        return {Span.DAY: 1, Span.MONTH: 31, Span.YEAR: 366}[self]

    @property
    def label(self) -> str:
        return f"the last {self}"

    @property
    def period(self) -> str:
        return "minute" if self is Span.DAY else "hour"

    @property
    def since(self) -> str:
        """As the command line takes it."""
        return f"{self.days}d"


async def _show_memory(exchange: Exchange, visitor: Visitor) -> Response:
    """Show the memory of the cards over time."""
    llm, wanted = exchange.client, exchange.request.query_params.get("span", "") or Span.DAY
    span = Span(wanted) if wanted in set(Span) else Span.DAY
    problem = "" if wanted == span else f"`span` is {', '.join(Span)}: this is {span.label}"
    now, seconds = await llm.store.server_time(), span.days * DAY_SECONDS
    cards, memory, _ = await fetch_cards_now(llm.store.connection, llm.config.catalog, seconds)
    rows = [(card, line_of(card, memory[card.card], seconds, now)) for card in cards]
    return html_page(
        exchange, visitor, "cards.html", 400 if problem else 200,
        span=span, spans=list(Span), rows=rows, since=now - seconds, problem=problem, width=WIDTH, height=HEIGHT,
    )  # fmt: skip


ENDPOINTS = (
    Endpoint(
        "GET", "/cards", for_people(_show_memory), "The page of the memory of the cards.",
        public=True, query={"span": TEXT}, media_type="text/html",
    ),
)  # fmt: skip
