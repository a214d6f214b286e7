"""Which rows of earlier runs a run of a batch removes from the output file, because it runs their lines again."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from openfall.producers.local_batches.batch_file_lines import BatchLine
from openfall.producers.local_batches.batch_plan import BatchPlan, is_edited, read_plan
from openfall.producers.local_batches.output_journal import Journal, JournalState


def reopen(journal: Journal, plan: BatchPlan) -> JournalState:
    """The rows of earlier runs, after the removal of those that the plan runs again. Failed ones stay in the returned
    state: a retry needs the ids of their rows. Those beyond the limit of the plan stay in the file too."""
    state = journal.state
    edited = set(_edited_lines(plan, state)) if plan.retry_edited else set[str]()
    journal.remove(edited, _failed_lines(plan, state) if plan.retry_failed else ())
    return state.without(edited, ())


def _failed_lines(plan: BatchPlan, state: JournalState) -> Collection[str]:
    """Their custom ids, up to the limit of the plan."""
    if plan.limit is None or not state.failed:
        return state.failed
    ids = {line.custom_id for line in read_plan(plan)}
    return {custom_id for custom_id in state.failed if custom_id in ids}


def _edited_lines(plan: BatchPlan, state: JournalState) -> Iterator[str]:
    for line in read_plan(plan):
        if isinstance(line, BatchLine) and (row := state.answered.get(line.custom_id)) and is_edited(line, row):
            yield line.custom_id
