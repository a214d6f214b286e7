"""Writes to standard output and standard error. No other module of the commands does.

Text from outside (answers, errors, names) is never markup, and on a terminal never a command: its control characters
are shown escaped. Into a pipe or a file it goes as it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from openfall.router_core.printable import escape_controls, escape_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text

PIPE_WIDTH = 200
"""Columns of a table that no terminal shows, unless $COLUMNS is set."""

_RAW = "openfall.raw"


def _set_raw(ctx: click.Context, _parameter: click.Parameter, raw: bool) -> None:
    ctx.meta[_RAW] = raw


raw_option = click.option(
    "--raw",
    is_flag=True,
    expose_value=False,
    callback=_set_raw,
    help="Print control characters as they are, on a terminal too.",
)
"""For commands that print answers. Without it a terminal shows the control characters of an answer escaped."""


def echo(text: str = "", *, nl: bool = True, err: bool = False) -> None:
    """Print text. A terminal gets it escaped, unless it is on standard output and the command has `--raw`."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty() and (err or not _raw_wanted()):
        text = escape_controls(text)
    click.echo(text, nl=nl, err=err, color=True)  # color=True: click does not remove escape sequences from an answer


def _raw_wanted() -> bool:
    return _has_option(_RAW)


def wants_json() -> bool:
    """Whether this command has `--json`."""
    return _has_option("openfall.as_json")


def _has_option(name: str) -> bool:
    context = click.get_current_context(silent=True)
    return bool(context is not None and context.meta.get(name))


def print_line(text: str) -> None:
    """Print a line to standard error."""
    echo(text, err=True)


def echo_marked(mark: str, colour: str, text: str) -> None:
    """Print text after a mark, which is coloured on a terminal."""
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    click.echo(click.style(mark, fg=colour) if coloured else mark, nl=False, color=coloured)
    echo(f" {text}")


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

    try:
        show_json_line(to_json(value).decode())
    except PydanticSerializationError:  # it has a lone surrogate: a name of a file that is not UTF-8
        show_json_line(json.dumps(to_jsonable_python(value), separators=(",", ":")))


def show_outcome(text: str, values: Any) -> None:
    """Print what a command did, as text or as JSON."""
    if wants_json():
        show_json(values)
    else:
        echo(text)


def show_json_line(document: str) -> None:
    """Print a line of JSON, in which no character controls a terminal."""
    click.echo(escape_json(document.rstrip("\n")))


def console(*, err: bool = False) -> Console:
    """A console that takes no text for markup or emoji codes. Its texts must be `plain`."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(stderr=err, markup=False, emoji=False, highlight=False, width=width)


def status_line(text: str | Text, shown_on: Console) -> Status:
    """A status line with a spinner that the terminal has the characters for."""
    return shown_on.status(text, spinner="dots" if shown_on.encoding.startswith("utf") else "line")


def plain(text: object, style: str = "") -> Text:
    """Text for a console: without markup, its control characters escaped."""
    from rich.text import Text

    return Text(escape_controls(str(text)), style)


def pad_all(texts: Iterable[str]) -> list[str]:
    """Texts without control characters, filled up to the width of the widest: a wide character takes two columns."""
    from rich.cells import cell_len

    texts = [escape_controls(text) for text in texts]
    width = max(map(cell_len, texts), default=0)
    return [text + " " * (width - cell_len(text)) for text in texts]
