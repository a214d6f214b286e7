"""`openfall batch list`, `status`, `cancel`, `retry`: batches by output file, name, or id at the HTTP gateway."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import click

from openfall.config import load
from openfall.producers.amount_text import plural
from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.gateway_batches import (
    cancel_at_gateway,
    gateway_batch_values,
    list_gateway_batches,
)
from openfall.producers.cli.options import common_options, config_path, open_client, with_client, with_operator
from openfall.producers.cli.progress import Progress
from openfall.producers.cli.tables import show
from openfall.producers.cli.terminal import echo, pad_all, print_line, show_json, show_outcome, wants_json
from openfall.producers.local_batches.output_journal import JournalState, is_written, read_journal
from openfall.producers.local_batches.run_status import batch_table, fetch_run, list_runs
from openfall.producers.local_batches.saved_plans import SavedBatch, find_batch
from openfall.producers.operations.batch_cancel import cancel_run, is_gateway_batch
from openfall.producers.operations.batch_retry import describe_retried, retry_failed_lines

NOT_SUBMITTED = "not submitted"
READ = "lines read"
NO_BATCH = (
    "no batch was run on this machine with this configuration, and none is at the HTTP gateway: "
    "openfall batch run IN -o OUT"
)


@click.command("status", short_help="Show the progress of a batch.")
@click.argument("name", metavar="OUT|NAME|ID")
@common_options
def show_status(name: str) -> None:
    """Show the progress of a batch, and why its lines wait. OUT is its output file, NAME its name, ID that
    of a batch of the HTTP gateway."""
    values = _status(name)
    if wants_json():
        show_json(values)
        return
    for key, value in zip(pad_all(values), values.values(), strict=True):
        echo(f"{key}  {value}")


def _status(name: str) -> dict[str, Any]:
    if is_gateway_batch(name):
        return with_client(lambda llm: gateway_batch_values(llm, name))
    saved = _find(name)
    if saved.plan is None:
        return {"output": str(saved.out), **_journal_values(read_journal(saved.out))}
    with Progress(READ, None) as progress:
        values = with_client(lambda llm: fetch_run(llm, saved, progress.update))
    names = {None: NOT_SUBMITTED, "done": "uncollected"}
    states = values.pop("states")
    return {**values, **{names.get(state, state): count for state, count in states.items()}}


def _find(name: str) -> SavedBatch:
    return find_batch(load(config_path()).settings.data_dir, Path(name))


def _journal_values(journal_state: JournalState) -> dict[str, Any]:
    codes = Counter(code for _, code in journal_state.failed.values())
    return {"answered": len(journal_state.answered), "failed": codes.total(), **dict(sorted(codes.items()))}


@click.command("list", short_help="List the batches of this machine and of the gateway.")
@common_options
def list_batches() -> None:
    """List the batches that were run on this machine with this configuration, then those of the HTTP gateway, of each
    the last one first."""
    batches = run_async(_list())
    show(batch_table(batches, NO_BATCH), batches)


async def _list() -> list[dict[str, Any]]:
    async with open_client() as llm:
        with Progress(READ, None) as progress:
            runs = await list_runs(llm, on_read=progress.update)
        return runs + await list_gateway_batches(llm)


@click.command("cancel", short_help="End the jobs of a batch that have no answer yet.")
@click.argument("name", metavar="OUT|NAME|ID")
@common_options
def cancel_batch(name: str) -> None:
    """End the jobs of a batch that have no answer yet. Answers stay. OUT is its output file, NAME its name, ID that of
    a batch of the HTTP gateway.

    `batch run --retry-failed` submits the cancelled lines again.
    """
    if is_gateway_batch(name):
        _cancel_at_gateway(name)
        return
    saved = _find(name)
    if saved.plan is None:
        raise click.UsageError(f"this configuration has not run the batch of {name}: openfall batch list")
    is_active = is_written(saved.out)  # before: a run without any further job ends at once
    with Progress("jobs ended", None) as progress:

        def show_read(count: int) -> None:
            progress.update(0, f"{count:,} {READ}")

        cancelled, ended = with_operator(
            lambda operator: asyncio.shield(cancel_run(operator, saved, progress.update, show_read))
        )
    values = {"batch": saved.plan.name, "cancelled": cancelled, "had_ended": ended}
    show_outcome(f"{plural(cancelled, 'job')} cancelled, {ended:,} had ended", values)
    if is_active:
        print_line(
            f"a run of this batch was active. It writes the results into {saved.out}, and may submit more lines: "
            "stop it with Ctrl-C if it has not ended, then cancel again"
        )


@click.command("retry", short_help="Submit the failed lines of a batch again.")
@click.argument("name", metavar="OUT|NAME")
@common_options
def retry_batch(name: str) -> None:
    """Submit the failed lines of a batch again, and wait for none. OUT is its output file, NAME its name.

    The same `batch run` command with --retry-failed collects the results.
    """
    if is_gateway_batch(name):
        raise click.UsageError("the failed lines of a batch of the gateway are a new batch: create one with them")
    saved = _find(name)
    if saved.plan is None:
        raise click.UsageError(f"this configuration has not run the batch of {name}: openfall batch list")
    retried = with_operator(lambda operator: retry_failed_lines(operator, saved))
    values = {"batch": saved.plan.name, "submitted": retried.submitted, "refused": retried.refused}
    show_outcome(describe_retried(saved, retried), values)


def _cancel_at_gateway(batch_id: str) -> None:
    values = with_operator(lambda operator: cancel_at_gateway(operator, batch_id))
    if wants_json():
        show_json(values)
    elif values["before"] == values["status"]:
        echo(f"{batch_id} is {values['status']}: nothing has changed")
    else:
        echo(f"{batch_id} is {values['status']}: its runner ends the lines that have no answer")
    if "why" in values and not wants_json():
        print_line(values["why"])
