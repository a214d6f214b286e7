"""Submits the failed lines of a batch again that was run on this machine."""

from __future__ import annotations

import asyncio

from openfall.producers.local_batches.failed_lines import FailedLines, RetriedLines
from openfall.producers.local_batches.output_journal import read_journal
from openfall.producers.local_batches.saved_plans import SavedBatch
from openfall.producers.operations.operator import Operator


async def retry_failed_lines(operator: Operator, saved: SavedBatch) -> RetriedLines:
    """Submit them, and wait for none: `batch run --retry-failed` collects their results. Raises `BatchFileError`."""
    assert saved.plan is not None
    journal_state = await asyncio.to_thread(read_journal, saved.out)
    retried = await FailedLines(operator.llm, saved.plan, journal_state).submit()
    await operator.note("batch.retry", saved.plan.name, f"{retried.submitted} failed lines submitted again")
    return retried


def describe_retried(saved: SavedBatch, retried: RetriedLines) -> str:
    """What was submitted, and the command that collects it."""
    assert saved.plan is not None
    if not retried.submitted + retried.refused:
        return f"{saved.plan.name} has no failed line"
    lines = f"{retried.submitted:,} failed {'line' if retried.submitted == 1 else 'lines'} of {saved.plan.name}"
    text = f"{lines} submitted again"
    text += f", {retried.refused:,} refused" if retried.refused else ""
    return f"{text}. The same `batch run` command with --retry-failed collects the results"
