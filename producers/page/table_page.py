"""Pages of tables that the command line has too: with links for what is shown, and the command that shows the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from openfall.producers.gateway.exchange import Exchange
from openfall.producers.page.page_access import Visitor
from openfall.producers.page.page_handler import html_page
from openfall.producers.table import Table


class ChoiceLink(NamedTuple):
    label: str
    path: str
    is_current: bool


class ChoiceBar(NamedTuple):
    """Links to the same page with another value of one parameter. `label` is for a screen reader."""

    label: str
    choices: Sequence[ChoiceLink]


class ShownTable(NamedTuple):
    """`each`: the names of the actions on a row, or a list of them for each row."""

    table: Table
    title: str = ""
    note: str = ""
    each: Sequence[str] | Sequence[Sequence[str]] = ()


class TypedChoice(NamedTuple):
    """A field for any other value of a parameter. `kept`: the other parameters of the address."""

    name: str
    label: str
    hint: str
    kept: Mapping[str, str]


def choice_bar(
    label: str, path: str, parameter: str, values: Mapping[str, str] | Iterable[str], current: Mapping[str, str]
) -> ChoiceBar:
    """A link for each value of a parameter, with its label. `current`: the parameters of the address."""
    labels = values if isinstance(values, Mapping) else {value: value for value in values}
    return ChoiceBar(
        label,
        [
            ChoiceLink(text, f"{path}?{urlencode({**current, parameter: value})}", current.get(parameter) == value)
            for value, text in labels.items()
        ],
    )


def table_page(  # noqa: PLR0913 - what a page shows
    exchange: Exchange,
    visitor: Visitor,
    title: str,
    tables: Sequence[ShownTable],
    *,
    command: str,
    about: str = "",
    bars: Sequence[ChoiceBar] = (),
    typed: TypedChoice | None = None,
    problem: str = "",
) -> Response:
    """`command`: what shows the same on the command line. `problem`: why the address cannot be answered."""
    values: dict[str, Any] = {"title": title, "about": about, "tables": tables, "bars": bars, "typed": typed}
    status = 400 if problem else 200
    return html_page(exchange, visitor, "tables.html", status, **values, command=command, problem=problem)
