"""The failed lines of a batch of this machine, submitted again by itself: `batch run --retry-failed` collects them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import PreparedJob
from openfall.producers.local_batches.batch_file_lines import BatchLine
from openfall.producers.local_batches.batch_plan import BatchPlan
from openfall.producers.local_batches.batch_run import BatchRun
from openfall.producers.local_batches.output_journal import JournalState
from openfall.producers.submit_chunks import SUBMIT_CHUNK
from openfall.router_core.state.job_records import fetch_states


class RetriedLines(NamedTuple):
    """How many failed lines were submitted again, and how many were not: a full queue, or the catalog, refused them."""

    submitted: int
    refused: int


class FailedLines(BatchRun):
    """Those lines of a batch. Their jobs have the ids that a run with `--retry-failed` gives them, which joins them."""

    def __init__(self, client: AsyncOpenfall, plan: BatchPlan, journal_state: JournalState) -> None:
        super().__init__(client, replace(plan, retry_failed=True), journal_state)

    async def states(self) -> Mapping[str, str]:
        """The jobs of those that were submitted again, and their states."""
        jobs = [job.id for _, (job, _) in await asyncio.to_thread(self._jobs)]
        states = await fetch_states(self._client.store.connection, jobs) if jobs else {}
        return {job: state for job, state in states.items() if state is not None}

    async def submit(self) -> RetriedLines:
        """Submit each once. Raises `StoreError`; then some are submitted, and the next try joins them."""
        jobs = await asyncio.to_thread(self._jobs)
        failed, refused = len(self._earlier.failed), 0
        for first in range(0, len(jobs), SUBMIT_CHUNK):
            left, _ = await self._send(jobs[first : first + SUBMIT_CHUNK])
            refused += len(left)
        submitted = len(jobs) - refused
        return RetriedLines(submitted, failed - submitted)

    def _jobs(self) -> list[tuple[BatchLine, PreparedJob]]:
        if not self._earlier.failed:  # a file of 200,000 lines is not read for nothing
            return []
        lines = [line for line in self._lines() if line.custom_id in self._earlier.failed]
        prepared = [(line, self._prepare(line)) for line in lines]
        return [(line, job) for line, job in prepared if isinstance(job, tuple)]
