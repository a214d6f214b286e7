"""The text of a page, as somebody reads it who sees no layout."""

from __future__ import annotations

import html.parser
import re


class _Text(html.parser.HTMLParser):
    """The text of a page, a line for each block; buttons and links are marked."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in ("p", "li", "tr", "section", "h1", "h2", "h3", "div", "summary", "dt", "article", "figure", "nav"):
            self.parts.append("\n")
        elif tag in ("td", "th", "dd"):
            self.parts.append(" | ")
        elif tag == "button":
            self.parts.append(" [button: ")
        if named.get("title"):
            self.parts.append(f" ({named['title']}) ")

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self.parts.append("] ")

    def handle_data(self, data: str) -> None:
        self.parts.append(re.sub(r"\s+", " ", data))


def text_of(page: str) -> str:
    """The lines of a page of HTML that a reader sees."""
    reader = _Text()
    reader.feed(re.sub(r"<(script|style|title)\b.*?</\1>", "", page, flags=re.S))
    lines = (re.sub(r" +", " ", line).strip() for line in "".join(reader.parts).splitlines())
    return "\n".join(line for line in lines if line)
