"""The batches that `openfall batch run` has run on this machine: their progress, and why their lines wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from openfall.producers.amount_text import plural
from openfall.producers.batch_wait_reason import explain_waiting
from openfall.producers.client import AsyncOpenfall
from openfall.producers.errors import BatchFileError
from openfall.producers.local_batches.batch_file_lines import INVALID_REQUEST
from openfall.producers.local_batches.batch_run import BatchRun
from openfall.producers.local_batches.failed_lines import FailedLines
from openfall.producers.local_batches.output_journal import read_journal
from openfall.producers.local_batches.saved_plans import SavedBatch, list_batches
from openfall.producers.table import Table
from openfall.router_core.state.job_records import count_cancelled
from openfall.router_core.vocabulary import ErrorClass

COUNTS = ("lines", "answered", "failed", "waiting", "uncollected", "not_submitted")
"""`lines` is the sum of the others. Uncollected: the job has ended, and its result is not in the output file."""
COLUMNS = ("batch", *COUNTS, "output", "why")


OnRead = Callable[[int], None]
"""Gets the number of lines of a batch that are read, from a thread."""


async def fetch_run(llm: AsyncOpenfall, saved: SavedBatch, on_read: OnRead = lambda _: None) -> dict[str, Any]:
    """The progress of a batch. Failed lines that were submitted again count by the states of their jobs. `why` is left
    out if nothing is known to keep its lines from an answer, and none was cancelled. Its files are read in a thread.
    Raises `BatchFileError`."""
    assert saved.plan is not None
    journal_state = await asyncio.to_thread(read_journal, saved.out)
    batch_run = BatchRun(llm, saved.plan, journal_state)
    batch_run.on_read = on_read
    jobs, tally = await batch_run.job_states(), batch_run.tally
    retried = await FailedLines(llm, saved.plan, journal_state).states()
    states = {**jobs, **retried}
    waiting = [job for job, state in states.items() if state not in (None, "done")]
    ended = [job for job, state in states.items() if state == "done"]
    lost = "" if saved.out.exists() else f"{saved.out} is gone: the same command writes it again"
    counts = {"lines": tally.total, "answered": tally.answered_before, "failed": tally.failed}
    codes = Counter(
        [code for _, code in journal_state.failed.values() if code != INVALID_REQUEST]
        + [INVALID_REQUEST for _ in tally.invalid]
    )
    values = {"output": str(saved.out), **counts, **dict(sorted(codes.items()))}
    values["failed"] = still_failed = tally.failed - len(retried)
    cancelled = min(codes[ErrorClass.CANCELLED], still_failed)
    cancelled += await count_cancelled(llm.store.connection, ended)
    why = "; ".join(filter(None, (lost, _describe_cancelled(cancelled), await explain_waiting(llm, waiting))))
    return {**values, "states": Counter(states.values()), **({"why": why} if why else {})}


def _describe_cancelled(count: int) -> str:
    return (
        f"{plural(count, 'line')} cancelled: `--retry-failed` of the same command submits them again" if count else ""
    )


async def list_runs(
    llm: AsyncOpenfall, limit: int | None = None, on_read: OnRead = lambda _: None
) -> list[dict[str, Any]]:
    """The batches that were run with this configuration, the last one first: a value for each column. `retryable`: the
    failed lines that may be submitted again as they are."""
    saved = await asyncio.to_thread(lambda: list(islice(list_batches(llm.config.settings.data_dir), limit)))
    return [await _summarize(llm, batch, on_read) for batch in saved]


def batch_table(batches: Iterable[Mapping[str, Any]], if_empty: str) -> Table:
    """`batches`: a value for each column."""
    rows = [[batch[name] for name in COLUMNS] for batch in batches]
    columns = [name.replace("_", " ") for name in COLUMNS]
    return Table(columns=columns, rows=rows, if_empty=if_empty, subjects=[str(row[0]) for row in rows])


async def _summarize(llm: AsyncOpenfall, saved: SavedBatch, on_read: OnRead) -> dict[str, Any]:
    assert saved.plan is not None
    head = {"batch": saved.plan.name, "input": str(saved.plan.source)}
    try:
        values = await fetch_run(llm, saved, on_read)
    except BatchFileError as error:  # its input or its output was removed or damaged
        empty = dict.fromkeys(COUNTS, "?")
        return {**head, **empty, "retryable": 0, "output": str(saved.out), "why": str(error)}
    states = values["states"]
    counts = {name: values[name] for name in ("lines", "answered", "failed", "output")}
    counts["retryable"] = max(0, values["failed"] - values.get(INVALID_REQUEST, 0))
    ends = {"uncollected": states["done"], "not_submitted": states[None]}
    waiting = states.total() - sum(ends.values())
    return {**head, **counts, "waiting": waiting, **ends, "why": values.get("why", "")}
