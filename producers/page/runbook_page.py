"""The runbook as a page: what each cause on the front page means, and what to do."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from starlette.responses import Response

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import for_people, html_page
from openfall.producers.runbook import DOCUMENTS, RUNBOOK, anchor_of

PATH = "/runbook"


async def _show_runbook(exchange: Exchange, visitor: Visitor) -> Response:
    """Show the runbook."""
    text = _rendered(RUNBOOK.stem, exchange.settings.root_path)
    return html_page(exchange, visitor, "runbook.html", title="runbook", text=text)


async def _show_document(exchange: Exchange, visitor: Visitor) -> Response:
    """Show a document to which the runbook leads."""
    name = exchange.request.path_params["name"]
    if name not in _names():
        raise Refusal("unknown_url", f"there is no document {name[:40]!r} here: /runbook leads to those that there are")
    return html_page(exchange, visitor, "runbook.html", title=name, text=_rendered(name, exchange.settings.root_path))


@cache
def _names() -> frozenset[str]:
    return frozenset(file.stem for file in DOCUMENTS.glob("*.md"))


@cache
def _rendered(name: str, root_path: str) -> Markup:
    """A document as HTML. Each heading has its anchor. Of a link to what is not here only the text is shown, and of a
    picture its description."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse((DOCUMENTS / f"{name}.md").read_text("utf-8"))
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor_of(content.content))
        if content.children:
            content.children = _own_links(content.children, root_path)
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _own_links(tokens: list[Token], root_path: str) -> list[Token]:
    """The content of a paragraph, whose links lead to documents that are here."""
    kept, leads_out = [], False
    for token in tokens:
        if token.type == "link_open":
            address = _own_address(str(token.attrs["href"]), root_path)
            leads_out = address is None
            token.attrSet("href", address or "")
        if not (leads_out and token.type in ("link_open", "link_close")):
            kept.append(token)
    return kept


def _own_address(target: str, root_path: str) -> str | None:
    """Where a link of a document leads on this page. None: to something that is not here."""
    file, _, anchor = target.partition("#")
    name = file.removesuffix(".md")
    if file and (name == file or name not in _names()):
        return None
    path = "" if not file else root_path + PATH if name == RUNBOOK.stem else f"{root_path}{PATH}/{name}"
    return f"{path}#{anchor}" if anchor else path


ENDPOINTS = (
    Endpoint(
        "GET",
        PATH,
        for_people(_show_runbook),
        "The runbook: what each cause means, and what to do.",
        public=True,
        media_type="text/html",
    ),
    Endpoint(
        "GET", f"{PATH}/{{name}}", for_people(_show_document), "A document to which the runbook leads.",
        public=True, media_type="text/html",
    ),
)  # fmt: skip
