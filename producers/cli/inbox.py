"""`openfall inbox`: what came of the jobs that were put in with a name of an inbox."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.exit_codes import flush_output
from openfall.producers.cli.options import (
    config_option,
    json_option,
    opened,
    run,
)
from openfall.producers.cli.render import (
    clock,
    failure,
    print_line,
    receipt,
    reply_words,
    show_json,
)

if TYPE_CHECKING:
    from openfall.router_core.jobs.result import Result

LOOK_EVERY = 0.5


@click.command()
@click.argument("name")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--ack", is_flag=True, help="Take what is shown out of the inbox: no other reader gets it.")
@config_option
@json_option
def inbox(name: str, follow: bool, ack: bool, config_path: Path | None, as_json: bool) -> None:
    """What came of the jobs of an inbox and nobody has acknowledged, oldest first.

    Without --ack it is only shown: the programs that read the inbox get it all the same. With --ack this is one more
    reader: what others have and have not acknowledged yet stays theirs.
    """
    run((_take if ack else _peek)(name, follow, as_json, config_path))


async def _take(name: str, follow: bool, as_json: bool, config_path: Path | None) -> None:
    from openfall.producers.inbox import read_inbox
    from openfall.router_core.state.inbox import InboxReader

    async with opened(config_path) as llm:
        reading = InboxReader(llm.store.connection, _checked(name), f"shell:{llm.producer}")
        async with aclosing(read_inbox(reading, llm.store.connection, name, follow=follow)) as found:
            async for one in found:
                _show(one.result, one.created_at, one.reply_to, as_json)
                flush_output()  # it is gone from the inbox only when it has come out
                await one.ack()


async def _peek(name: str, follow: bool, as_json: bool, config_path: Path | None) -> None:
    from pydantic_core import from_json

    from openfall.router_core.state.inbox import peek

    after = ""
    async with opened(config_path) as llm:
        while True:
            async for entry in peek(llm.store.connection, _checked(name), after):
                _show(entry.result, entry.at, from_json(entry.reply_to) if entry.reply_to else None, as_json)
                after = entry.entry_id
            if not follow:
                return
            flush_output()
            await asyncio.sleep(LOOK_EVERY)


def _checked(name: str) -> str:
    from openfall.producers.callbacks import check_inbox_name

    return check_inbox_name(name)


def _show(result: Result, at: float, reply_to: Any, as_json: bool) -> None:
    if as_json:
        show_json({**result.as_json(), "at": at, "reply_to": reply_to})
        return
    to = "" if reply_to is None else f"  to {reply_to}"
    click.echo(f"{clock(at)}  {result.id}{to}")
    if result.answered:
        click.echo(result.text)
    if not result.final:
        print_line(f"[{result.id[:4]} held ({result.held_for}), {reply_words(result)}: its end comes later]")
    else:
        print_line(receipt(result) if result.answered else failure(result))
