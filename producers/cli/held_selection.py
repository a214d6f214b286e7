"""The options that select held jobs: ids or filters."""

from __future__ import annotations

from typing import Any

import click

from openfall.producers.cli.options import add_options, check_id
from openfall.producers.cli.progress import Progress
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.operations.held_actions import HeldSelection
from openfall.router_core.state.held_jobs import count_held


def named_selection(options: dict[str, Any]) -> HeldSelection:
    """The selection of a command that changes jobs. One that names none is refused: a forgotten argument must not drop
    everything."""
    selection = any_selection(options)
    if not (selection.ids or selection.is_narrowed or selection.all):
        raise click.UsageError("which jobs? Name job ids, or a filter such as --role, --reason, --since, --all.")
    if selection.ids and (selection.is_narrowed or selection.all):
        raise click.UsageError("name job ids or filters, not both")
    return selection


def any_selection(options: dict[str, Any]) -> HeldSelection:
    """The selection of a command that only reads. Without options it is every held job."""
    return HeldSelection(**options)


filter_options = add_options(
    click.option("-r", "--role", help="Only jobs of this role."),
    click.option("--reason", help="Only jobs held for this reason: outage, local_only, budget, own_fault ..."),
    click.option("--since", type=DURATION, help="Only jobs held within this time: 30m, 2h, 1d."),
)


selection_options = add_options(
    click.argument("ids", metavar="[ID]...", nargs=-1, callback=check_id),
    filter_options,
    click.option("--all", "all", is_flag=True, help="Every held job."),
)
"""The ids and the filters of held jobs."""


async def held_progress(llm: AsyncOpenfall, selection: HeldSelection, action: str) -> Progress:
    """The progress of an action on the selected jobs."""
    everything = selection.all and not selection.is_narrowed
    return Progress(action, await count_held(llm.store.connection) if everything else len(selection.ids) or None)
