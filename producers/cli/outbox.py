"""`openfall outbox`: pending and failed notifications; tries them again at once, or drops them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from openfall.producers.amount_text import plural
from openfall.producers.cli.confirmation import confirm
from openfall.producers.cli.options import (
    add_options,
    check_id,
    common_options,
    listing_group,
    with_client,
    with_operator,
)
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import print_line, show_json, show_outcome, wants_json
from openfall.producers.operations.notification_orders import OutboxChange, OutboxSelection, find_entries, order_outbox
from openfall.producers.operations.operator import Operator
from openfall.producers.outbox_tables import fetch_outbox
from openfall.router_core.state.outbox_orders import OutboxVerb


@listing_group
@common_options
def outbox() -> None:
    """List pending notifications (webhooks of jobs, notices of incidents), and those that failed for good. `retry`
    tries them at once, `drop` removes them."""
    status = with_client(lambda llm: fetch_outbox(llm.store.connection))
    if wants_json():
        show_json(status.values)
        return
    pending, failed = status.pending_table, status.failed_table
    if pending.rows:
        show_table(pending.columns, pending.rows)
    else:
        print_line(pending.if_empty)
    if failed.rows:
        print_line("failed for good, the newest first:")
        show_table(failed.columns, failed.rows)


_selected = add_options(
    click.argument("names", metavar="[ID|ENTRY]...", nargs=-1, callback=check_id),
    click.option("--failed", is_flag=True, help="All that failed for good."),
    click.option("--waiting", is_flag=True, help="All that are pending."),
    common_options,
)


@outbox.command(short_help="Try notifications again at once.")
@_selected
def retry(**options: Any) -> None:
    """Try notifications again at once. ID is that of their job, batch or incident, or its first letters; ENTRY is the
    `entry` of --json. One that failed for good gets all of its tries again."""
    _order("retry", "due now", options, lambda _: None)


@outbox.command(short_help="Remove notifications: they are not sent.")
@_selected
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(yes: bool, **options: Any) -> None:
    """Remove notifications: their receivers do not get them. The results of jobs stay. This cannot be undone."""

    def check(number: int) -> None:
        if number and not yes:
            confirm("drop", plural(number, "notification"))

    _order("drop", "dropped", options, check)


def _order(verb: str, effect: str, options: Any, check: Callable[[int], None]) -> None:
    selection = OutboxSelection(**options)
    if bool(selection.names) == (selection.failed or selection.waiting):
        raise click.UsageError("name ids or entries, or --failed or --waiting; not both")
    change = with_operator(lambda operator: _change(operator, verb, selection, check))
    values = {"changed": change.changed, "selected": change.selected}
    show_outcome(f"{change} notifications {effect}", values)


async def _change(
    operator: Operator, verb: str, selection: OutboxSelection, check: Callable[[int], None]
) -> OutboxChange:
    check(len(await find_entries(operator, selection)))
    return await order_outbox(operator, OutboxVerb(verb), selection)
