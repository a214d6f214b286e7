"""Tables that fit the terminal. No word is broken: what is too narrow for a table becomes a block for each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from openfall.producers.cli.terminal import console, plain, print_line, show_json, wants_json
from openfall.producers.table import Table

if TYPE_CHECKING:
    from rich.console import RenderableType


_GAP = 2
"""Columns of the terminal between two columns of a table."""
_MIN_LAST = 30
"""Columns of the terminal that a last column of sentences needs. Its sentences are wrapped."""


def show_table(columns: Iterable[str], rows: Iterable[Iterable[object]], *, narrow: int | None = None) -> None:
    """Print a table. With `narrow` only its last column is wrapped: a terminal that is too narrow for all columns gets
    as many of the first as fit, if those are `narrow` or more, and a line that names the others."""
    out, names, cells = console(), list(columns), [list(row) for row in rows]
    shown = _first_columns(names, cells, out.width, narrow) if narrow else len(names)
    out.print(table(names[:shown], [row[:shown] for row in cells], out.width))
    if left_out := names[shown:]:
        print_line(f"no room for {', '.join(left_out)}: a wider terminal or --json has them")


def _first_columns(names: Sequence[str], rows: Sequence[Sequence[object]], width: int, least: int) -> int:
    """How many of the first columns fit without a wrapped cell. The last column of all may wrap. At least `least`, with
    wrapped cells; if those do not fit either, all, which `table` shows as blocks."""
    from rich.cells import cell_len

    columns = zip(*([names, *([str(plain(cell)) for cell in row] for row in rows)]), strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    widths[-1] = min(widths[-1], _MIN_LAST)
    count = sum(end - _GAP <= width for end in accumulate(own + _GAP for own in widths))
    if count >= least:
        return count
    return least if fits(names[:least], [row[:least] for row in rows], width) else len(names)


def show(shown: Table, values: Sequence[Any], *, narrow: int | None = None) -> None:
    """Print a table that the page shows too, or its `values` as JSON. Without rows it is a sentence."""
    if wants_json():
        show_json(values)
    elif shown.rows:
        show_table(shown.columns, shown.rows, narrow=narrow)
    else:
        print_line(shown.if_empty)


def fits(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> bool:
    """Whether a terminal of `width` columns has room for a table."""
    return _widths(columns, [[str(plain(cell)) for cell in row] for row in rows], width) is not None


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], width: int) -> RenderableType:
    """A plain table of at most `width` columns of the terminal. Numbers are right-aligned."""
    names, cells = list(columns), [list(row) for row in rows]
    texts = [[str(plain(cell)) for cell in row] for row in cells]
    widths = _widths(names, texts, width)
    if widths is None:
        return _blocks(names, texts)
    from rich import box
    from rich.table import Table

    table_ = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, (name, column_width) in enumerate(zip(names, widths, strict=True)):
        is_number = any(isinstance(row[number], int) for row in cells)
        table_.add_column(name, justify="right" if is_number else "left", width=column_width)
    for row in texts:
        table_.add_row(*map(plain, row))
    return table_


def _widths(names: Sequence[str], texts: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """The width of each column, at least that of its longest word; the first is never wrapped. None: no room."""
    from rich.cells import cell_len

    columns = [[name, *(row[number] for row in texts)] for number, name in enumerate(names)]
    whole = [max(cell_len(line) for text in column for line in text.split("\n")) for column in columns]
    least = [max((cell_len(word) for text in column for word in text.split()), default=0) for column in columns]
    least[0] = whole[0]
    free = width - sum(least) - _GAP * (len(names) - 1)
    if free < 0:
        return None
    by_need = sorted(range(len(names)), key=lambda number: whole[number] - least[number])
    for place, number in enumerate(by_need):  # those with little need first: what they leave goes to the others
        more = min(whole[number] - least[number], free // (len(names) - place))
        least[number] += more
        free -= more
    return least


def _blocks(names: Sequence[str], texts: Sequence[Sequence[str]]) -> RenderableType:
    """Each row as a heading, the first column, and a line for every other value."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    parts: list[RenderableType] = []
    for row in texts:
        heading = plain(row[0], "bold")
        heading.overflow = "fold"
        values = Table.grid(padding=(0, _GAP, 0, 0))
        values.add_column(no_wrap=True)
        values.add_column(overflow="fold")
        for name, text in zip(names[1:], row[1:], strict=True):
            if text:
                values.add_row(plain(name, "dim"), plain(text))
        parts += [heading, Padding(values, (0, 0, 0, 2))]
    return Group(*parts)
