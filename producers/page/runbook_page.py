"""The runbook as a page: what each cause on the front page means, and what to do."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people, html_page
from openfall.producers.runbook import anchor_of, read_runbook

PATH = "/runbook"


async def _show_runbook(exchange: Exchange, visitor: Visitor) -> Response:
    return html_page(exchange, visitor, "runbook.html", text=_rendered())


@cache
def _rendered() -> Markup:
    """The runbook as HTML. Each heading has its anchor. Of a link to another document only its text is shown."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(read_runbook())
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor_of(content.content))
        if content.children:
            content.children = _own_links(content.children)
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _own_links(tokens: list[Token]) -> list[Token]:
    """The content of a paragraph without the links that lead out of the page."""
    kept, leads_out = [], False
    for token in tokens:
        if token.type == "link_open":
            leads_out = not str(token.attrs["href"]).startswith("#")
        if not (leads_out and token.type in ("link_open", "link_close")):
            kept.append(token)
    return kept


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        for_people(_show_runbook),
        "The runbook: what each cause means, and what to do.",
        public=True,
        media_type="text/html",
    ),
)
