"""`openfall job cancel`, `replay` and `drop`: of several jobs, by ids or by the filters of `job list`."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from openfall.producers.amount_text import plural
from openfall.producers.cli.confirmation import confirm
from openfall.producers.cli.job_list import check_names, filter_options
from openfall.producers.cli.options import add_options, check_id, common_options, with_operator
from openfall.producers.cli.terminal import echo, show_json, wants_json
from openfall.producers.job_filter import read_filter
from openfall.producers.operations.job_selection import JobSelection, JobVerb, act_on_jobs, find_jobs
from openfall.producers.operations.operator import Operator

_selected = add_options(
    click.argument("ids", metavar="[ID]...", nargs=-1, callback=check_id),
    filter_options,
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    common_options,
)


@click.command(short_help="Cancel jobs that have no answer yet.")
@_selected
def cancel(**options: Any) -> None:
    """Cancel jobs that have no answer yet: those of the ids, or all that match the filters."""
    _act("cancel", options)


@click.command(short_help="Return held jobs to their queues.")
@_selected
def replay(**options: Any) -> None:
    """Return held jobs to their queues: those of the ids, or all that match the filters."""
    _act("replay", options)


@click.command(short_help="End held jobs without an answer.")
@_selected
def drop(**options: Any) -> None:
    """End held jobs without an answer: those of the ids, or all that match the filters. This cannot be undone."""
    _act("drop", options)


def _act(verb: str, options: dict[str, Any]) -> None:
    ids, yes = options.pop("ids"), options.pop("yes")
    filters = {name: value for name, value in options.items() if value}
    if bool(ids) == bool(filters):
        raise click.UsageError("name job ids, or filters such as --role, --state and --since; not both")
    changed = with_operator(lambda operator: _change(operator, verb, ids, options, yes))
    if wants_json():
        show_json([{"id": id_, "changed": is_changed} for id_, is_changed in changed.items()])
        return
    for id_ in ids and changed:
        echo(f"{id_} {_outcome(verb, changed[id_])}")
    if not ids:
        echo(f"{sum(changed.values()):,} of {plural(len(changed), 'job')} {_effect(verb)}")


def _outcome(verb: str, is_changed: bool) -> str:
    if is_changed:
        return f"is {_effect(verb)}"
    return "had ended already" if verb == "cancel" else "is not held"


def _effect(verb: str) -> str:
    return JobVerb(verb).effect


async def _change(
    operator: Operator, name: str, ids: tuple[str, ...], options: dict[str, Any], yes: bool
) -> dict[str, bool]:
    verb = JobVerb(name)
    selection = await _selection(operator, ids, options)
    matches = await find_jobs(operator, verb, selection)
    if not ids and not matches:
        check_names(operator.llm, options)
    if matches and not (ids or yes or verb is JobVerb.REPLAY):
        confirm(name, plural(len(matches), "job"))
    return await asyncio.shield(act_on_jobs(operator, verb, matches, selection)) if matches else {}


async def _selection(operator: Operator, ids: tuple[str, ...], options: dict[str, Any]) -> JobSelection:
    if ids:
        return JobSelection(ids=ids)
    typed = {name: " ".join(value) if name == "states" else value for name, value in options.items() if value}
    return JobSelection(matching=read_filter(await operator.llm.store.server_time(), **options), typed=typed)
