"""`openfall runbook`: what each cause means, and what to do."""

from __future__ import annotations

import sys

import click

from openfall.producers.cli.terminal import console, echo
from openfall.producers.runbook import read_sections


@click.command()
@click.argument("section", required=False)
def runbook(section: str | None) -> None:
    """Print the sections of the runbook whose heading contains SECTION; without SECTION: all headings.

    `openfall status`, `openfall top` and the page name the section of each cause. A pipe gets Markdown.
    """
    from rich.markdown import Markdown

    sections = read_sections()
    if section is None:
        echo("\n".join(sections))
        return
    wanted = section.casefold()
    matching = [name for name in sections if wanted in name.casefold()]
    if not matching:
        raise click.BadParameter(f"no heading of the runbook has {section!r}; `openfall runbook` lists them")
    text = "\n\n".join(f"# {name}\n\n{sections[name]}" for name in matching)
    if sys.stdout.isatty():
        console().print(Markdown(text))
    else:
        echo(text)  # rich pads each line to the width of a terminal
