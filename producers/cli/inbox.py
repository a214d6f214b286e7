"""`openfall inbox`: shows the results in an inbox."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import click

from openfall.producers.callbacks import check_inbox_name
from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.render import describe_failure, receipt, short_id
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import echo, print_line, raw_option, show_json, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_time
from openfall.producers.inbox_delivery import read_inbox
from openfall.producers.log_tables import inbox_table
from openfall.router_core.jobs.answer_reason import describe_reply
from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.inbox import InboxReader, list_inboxes, peek, read_entry_result, read_reply_to

POLL_INTERVAL_SECONDS = 0.5


@click.command()
@click.argument("name", required=False)
@click.option("--follow", is_flag=True, help="Wait for more results, until Ctrl-C.")
@click.option("--ack", is_flag=True, help="Acknowledge each result: no other reader gets it.")
@raw_option
@common_options
def inbox(name: str | None, follow: bool, ack: bool) -> None:
    """Show the unacknowledged results in an inbox, oldest first. Without NAME: list the inboxes that have some.

    Without --ack the results stay for the programs that read the inbox. With --ack this command is one more reader: it
    does not get results that another reader has received and not acknowledged yet.
    """
    if name is None:
        if follow or ack:
            raise click.UsageError("--follow and --ack need the NAME of an inbox.")
        _list()
        return
    read = _acknowledge if ack else _peek
    with_client(lambda llm: read(llm, check_inbox_name(name), follow))


def _list() -> None:
    inboxes = with_client(lambda llm: list_inboxes(llm.store.connection))
    table = inbox_table(inboxes)
    if wants_json():
        show_json([asdict(each) for each in inboxes])
    elif table.rows:
        show_table(table.columns, table.rows)
    else:
        print_line(table.if_empty)


async def _acknowledge(llm: AsyncOpenfall, name: str, follow: bool) -> None:
    reader = InboxReader(llm.store.connection, name, f"shell:{llm.producer}")
    async with aclosing(read_inbox(reader, llm.store.connection, name, follow=follow)) as deliveries:
        async for delivery in deliveries:
            _show(delivery.result, delivery.created_at, delivery.reply_to)
            sys.stdout.flush()  # acknowledge only what was written
            await delivery.ack()


async def _peek(llm: AsyncOpenfall, name: str, follow: bool) -> None:
    after = ""
    while True:
        async for entry in peek(llm.store.connection, name, after):
            after = entry.entry_id
            try:
                result = read_entry_result(llm.store.connection, name, entry)
            except UnreadableEnvelope as error:
                print_line(f"the entry of job {entry.job_id} cannot be read: {error}")
            else:
                _show(result, entry.at, read_reply_to(llm.store.connection, name, entry))
        if not follow:
            if not after:
                print_line(f"inbox {name} has no results")
            return
        sys.stdout.flush()
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


def _show(result: Result, at: float, reply_to: Any) -> None:
    if wants_json():
        show_json({**result.as_json(), "at": at, "reply_to": reply_to})
        return
    to = "" if reply_to is None else f"  to {reply_to}"
    echo(f"{format_time(at)}  {result.id}{to}")
    if result.answered:
        echo(result.text)
    if not result.final:
        print_line(
            f"[{short_id(result.id)} held ({result.held_for}), {describe_reply(result)}: the final result follows]"
        )
    else:
        print_line(receipt(result) if result.answered else describe_failure(result))
