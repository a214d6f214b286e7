"""`openfall batch list`, `status` and `cancel`: batches by their output files, names, or ids at the HTTP gateway."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.amounts import plural
from openfall.producers.cli.gateway_batches import (
    cancel_at_gateway,
    gateway_batch_values,
    is_gateway_batch,
    list_gateway_batches,
)
from openfall.producers.cli.options import common_options, config_path, open_client, with_client, with_operator
from openfall.producers.cli.tables import show_rows
from openfall.producers.cli.terminal import echo, pad_all, print_line, show_json, show_outcome, wants_json

if TYPE_CHECKING:
    from openfall.producers.batch_files.journal import JournalState
    from openfall.producers.batch_files.plan_file import SavedBatch
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.operations.operator import Operator

COUNTS = ("lines", "answered", "failed", "waiting", "uncollected", "not_submitted")
"""`lines` is the sum of the others. Uncollected: the job has ended, and its result is not in the output file."""
COLUMNS = ("batch", *COUNTS, "output", "why")
CANCEL_CHUNK = 256
NOT_SUBMITTED = "not submitted"
INVALID = "invalid_request"
"""The code of a line that was not submitted."""
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
    from openfall.producers.batch_files.journal import read_journal

    if is_gateway_batch(name):
        return with_client(lambda llm: gateway_batch_values(llm, name))
    saved = _find(name)
    if saved.plan is None:
        return {"output": str(saved.out), **_journal_values(read_journal(saved.out))}
    values = with_client(lambda llm: _fetch(llm, saved))
    names = {None: NOT_SUBMITTED, "done": "uncollected"}
    states = values.pop("states")
    return {**values, **{names.get(state, state): count for state, count in states.items()}}


def _find(name: str) -> SavedBatch:
    from openfall.config import load
    from openfall.producers.batch_files.plan_file import find_batch

    return find_batch(load(config_path()).settings.data_dir, Path(name))


async def _fetch(llm: AsyncOpenfall, saved: SavedBatch) -> dict[str, Any]:
    """The progress of a batch. `why` is left out if nothing is known to keep its lines from an answer."""
    from openfall.producers.batch_files.files import REFUSED
    from openfall.producers.batch_files.journal import read_journal
    from openfall.producers.batch_files.run import BatchRun
    from openfall.producers.waiting_reason import explain_waiting

    assert saved.plan is not None
    journal_state = read_journal(saved.out)
    batch_run = BatchRun(llm, saved.plan, journal_state)
    jobs, tally = await batch_run.job_states(), batch_run.tally
    waiting = [job for job, state in jobs.items() if state not in (None, "done")]
    lost = "" if saved.out.exists() else f"{saved.out} is gone: the same command writes it again"
    why = "; ".join(filter(None, (lost, await explain_waiting(llm, waiting))))
    counts = {"lines": tally.total, "answered": tally.answered_before, "failed": tally.failed}
    codes = Counter(
        [code for row, code in journal_state.failed.values() if not row.startswith(REFUSED)]
        + [INVALID for _ in tally.invalid]
    )
    values = {"output": str(saved.out), **counts, **dict(sorted(codes.items()))}
    return {**values, "states": Counter(jobs.values()), **({"why": why} if why else {})}


def _journal_values(journal_state: JournalState) -> dict[str, Any]:
    codes = Counter(code for _, code in journal_state.failed.values())
    return {"answered": len(journal_state.answered), "failed": codes.total(), **dict(sorted(codes.items()))}


@click.command("list", short_help="List the batches of this machine.")
@common_options
def list_batches() -> None:
    """List the batches that were run on this machine with this configuration, then those of the HTTP gateway, of each
    the last one first."""
    batches = asyncio.run(_list())
    rows = ([batch[name] for name in COLUMNS] for batch in batches)
    show_rows([name.replace("_", " ") for name in COLUMNS], rows, batches, if_empty=NO_BATCH)


async def _list() -> list[dict[str, Any]]:
    from openfall.producers.batch_files import plan_file

    async with open_client() as llm:
        saved = list(plan_file.list_batches(llm.config.settings.data_dir))
        own = [await _summarize(llm, batch) for batch in saved]
        return own + await list_gateway_batches(llm)


async def _summarize(llm: AsyncOpenfall, saved: SavedBatch) -> dict[str, Any]:
    from openfall.producers.errors import BatchFileError

    assert saved.plan is not None
    head = {"batch": saved.plan.name, "input": str(saved.plan.source)}
    try:
        values = await _fetch(llm, saved)
    except BatchFileError as error:  # its input or its output was removed or damaged
        empty = dict.fromkeys(COUNTS, "?")
        return {**head, **empty, "output": str(saved.out), "why": str(error)}
    states = values["states"]
    counts = {name: values[name] for name in ("lines", "answered", "failed", "output")}
    ends = {"uncollected": states["done"], "not_submitted": states[None]}
    waiting = states.total() - sum(ends.values())
    return {**head, **counts, "waiting": waiting, **ends, "why": values.get("why", "")}


@click.command("cancel", short_help="End the jobs of a batch that have no answer yet.")
@click.argument("name", metavar="OUT|NAME|ID")
@common_options
def cancel_batch(name: str) -> None:
    """End the jobs of a batch that have no answer yet. Answers stay. OUT is its output file, NAME its name, ID that of
    a batch of the HTTP gateway.

    `batch run --retry-failed` submits the cancelled lines again.
    """
    from openfall.producers.batch_files.journal import is_written

    if is_gateway_batch(name):
        _cancel_at_gateway(name)
        return
    saved = _find(name)
    if saved.plan is None:
        raise click.UsageError(f"this configuration has not run the batch of {name}: openfall batch list")
    is_active = is_written(saved.out)  # before: a run without any further job ends at once
    cancelled, ended = with_operator(lambda operator: asyncio.shield(_cancel(operator, saved)))
    values = {"batch": saved.plan.name, "cancelled": cancelled, "had_ended": ended}
    show_outcome(f"{plural(cancelled, 'job')} cancelled, {ended:,} had ended", values)
    if is_active:
        print_line(
            f"a run of this batch was active. It writes the results into {saved.out}, and may submit more lines: "
            "stop it with Ctrl-C if it has not ended, then cancel again"
        )


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


async def _cancel(operator: Operator, saved: SavedBatch) -> tuple[int, int]:
    """How many jobs were cancelled, and how many had ended before."""
    from openfall.producers.batch_files.journal import read_journal
    from openfall.producers.batch_files.run import BatchRun
    from openfall.router_core.state.errors import UnknownJob

    assert saved.plan is not None
    llm = operator.llm
    states = await BatchRun(llm, saved.plan, read_journal(saved.out)).job_states()
    jobs = [job for job, state in states.items() if state not in (None, "done")]
    outcomes: list[bool | BaseException] = []
    for first in range(0, len(jobs), CANCEL_CHUNK):
        part = jobs[first : first + CANCEL_CHUNK]
        outcomes += await asyncio.gather(*map(llm.cancel, part), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, UnknownJob):
            raise outcome
    cancelled = sum(outcome is True for outcome in outcomes)
    await operator.note("batch.cancel", saved.plan.name, f"{cancelled} jobs cancelled")
    return cancelled, len(jobs) - cancelled
