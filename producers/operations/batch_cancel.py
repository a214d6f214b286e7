"""Ends the lines of a batch that have no answer: of one of the HTTP gateway, or of one that was run on this machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from openfall.producers.local_batches.batch_run import BatchRun
from openfall.producers.local_batches.output_journal import read_journal
from openfall.producers.local_batches.run_status import OnRead
from openfall.producers.local_batches.saved_plans import SavedBatch
from openfall.producers.operations.operator import Operator
from openfall.router_core.state.batches import cancel_batch
from openfall.router_core.state.errors import UnknownJob

CANCEL_CHUNK = 256
"""Jobs that are ended concurrently."""
_ID = re.compile(r"(batch|msgbatch)_[0-9a-f]{16}")


def is_gateway_batch(name: str) -> bool:
    """Whether this is the id of a batch of the gateway."""
    return _ID.fullmatch(name) is not None


async def cancel_gateway_batch(operator: Operator, batch_id: str) -> str:
    """End the lines of a batch of the HTTP gateway that have no answer. Returns its status before."""
    before = await cancel_batch(operator.link, batch_id)
    await operator.note("batch.cancel", batch_id, f"it was {before}")
    return str(before)


async def cancel_run(
    operator: Operator,
    saved: SavedBatch,
    on_progress: Callable[[int], None] = lambda _: None,
    on_read: OnRead = lambda _: None,
) -> tuple[int, int]:
    """End the jobs of a batch that `openfall batch run` has submitted: how many were cancelled, and how many had ended
    before. `on_progress` gets the number that is done. Raises `BatchFileError`."""
    assert saved.plan is not None
    journal_state = await asyncio.to_thread(read_journal, saved.out)
    batch_run = BatchRun(operator.llm, saved.plan, journal_state)
    batch_run.on_read = on_read
    states = await batch_run.job_states()
    jobs = [job for job, state in states.items() if state not in (None, "done")]
    had_ended = len(journal_state.answered) + sum(state == "done" for state in states.values())
    if not saved.plan.retry_failed:  # otherwise they are among the states; refused lines have no job
        had_ended += len(journal_state.failed) - len(journal_state.refused)
    outcomes: list[bool | BaseException] = []
    for first in range(0, len(jobs), CANCEL_CHUNK):
        part = jobs[first : first + CANCEL_CHUNK]
        outcomes += await asyncio.gather(*map(operator.llm.cancel, part), return_exceptions=True)
        on_progress(len(outcomes))
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, UnknownJob):
            raise outcome
    cancelled = sum(outcome is True for outcome in outcomes)
    await operator.note("batch.cancel", saved.plan.name, f"{cancelled} jobs cancelled")
    return cancelled, had_ended + len(jobs) - cancelled
