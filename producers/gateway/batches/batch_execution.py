"""One batch, run by the process that claimed it: validate, submit, collect, end.

    validating -> in_progress: each line a job -> its result, from the inbox into the journal -> finalizing -> its end

A result is acknowledged once its row is on the disk, so no line is lost; the journal has one row for each line, so none
is there twice; the job of a line has a fixed id, so none is bought twice.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from openfall.producers.gateway.batches.batch_input import InputLines, InputMissing, batch_folder, input_path, validate
from openfall.producers.gateway.batches.batch_journal import BatchJournal
from openfall.producers.gateway.batches.batch_lines import BatchLines, LineCheck
from openfall.producers.gateway.batches.line_endpoints import line_urls
from openfall.producers.gateway.batches.result_files import write_results
from openfall.producers.gateway.batches.submission_pace import submit_again, submit_lines
from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.batch_rules.batch_status import BatchStatus, final_status
from openfall.router_core.batch_rules.journal_row_format import JournalRow, LineEnd
from openfall.router_core.batch_rules.line_job_ids import index_of, job_id_of
from openfall.router_core.jobs.envelope import UnreadableEnvelope
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.batch_claims import BatchClaim, RenewalReply
from openfall.router_core.state.batches import Batch
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.inbox import InboxEntry, read_first
from openfall.router_core.state.job_records import fetch_results, fetch_states
from openfall.router_core.state.jobs import end_job
from openfall.router_core.vocabulary import ErrorClass

if TYPE_CHECKING:
    from openfall.producers.gateway.gateway import Gateway

log = logging.getLogger("openfall.gateway")

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS, PAUSE_GROWTH = 0.02, 0.5, 1.5
RECONCILE_SECONDS = 10.0
"""After this time without a result the jobs of the lines are looked at: an inbox may have been emptied by another."""
DISK_PAUSE_SECONDS = 1.0
END_AGAIN_SECONDS = 2.0
"""Pause between two attempts to end the jobs of a batch that is over."""
MAX_READ, MAX_READ_BYTES = 64, 8 << 20
"""Results that are read at once. Fewer, while they are large."""
BLOCK = 256


class LeaseLost(Exception):
    """Another runner has the batch."""


class BatchExecution:
    """One claim of a batch. `run` returns when it has ended. Raises `LeaseLost`, `StoreError`, `OSError`."""

    def __init__(self, gateway: Gateway, claim: BatchClaim, batch: Batch) -> None:
        self.gateway, self.claim, self._batch = gateway, claim, batch
        self._link = claim.link
        self._folder = batch_folder(gateway.directory.path, batch.terms.id)
        self._is_cancelled = BatchStatus.CANCELLING in batch.moments
        self._clock_ahead = 0.0
        self._submitted_again: set[int] = set()
        self._read_limit = MAX_READ
        self.lines: BatchLines
        self.journal: BatchJournal

    async def run(self) -> None:
        self.note(await self.claim.renew())
        try:
            path = await asyncio.to_thread(input_path, self._folder)
        except InputMissing as error:
            await self._fail([{"code": "input_missing", "message": str(error), "param": None, "line": None}])
            return
        if not (self._batch.total or await self._validate(path)):
            return
        lines = await asyncio.to_thread(InputLines.scan, path)
        self.lines = BatchLines(self.gateway.config, self._batch.terms, lines)
        self.journal = BatchJournal(self._folder, self.claim.number, len(lines))
        try:
            await asyncio.to_thread(self.journal.open)
            await self._answer()
            await self._finish()
        finally:
            await asyncio.to_thread(self.journal.close)

    def note(self, reply: RenewalReply) -> None:
        """What Redis says of the batch. Raises `LeaseLost`."""
        if not reply.held:
            raise LeaseLost
        self._is_cancelled |= reply.status is BatchStatus.CANCELLING
        self._clock_ahead = reply.now - time.monotonic()

    @property
    def is_over(self) -> bool:
        """No further line is submitted: the batch was cancelled, or its window has ended."""
        return self._is_cancelled or time.monotonic() + self._clock_ahead >= self._batch.terms.deadline

    async def _validate(self, path: Path) -> int:
        """The number of lines. 0: the batch has failed."""
        terms, settings = self._batch.terms, self.gateway.settings
        check = LineCheck(self.gateway.config, terms)
        urls = line_urls(terms.endpoint)
        validation = await asyncio.to_thread(validate, path, urls, settings.max_batch_requests, check)
        if validation.problems:
            await self._fail(validation.problems)
            return 0
        status = BatchStatus.IN_PROGRESS, (BatchStatus.VALIDATING,)
        self.note(await self.claim.renew(values={"total": validation.lines}, status=status))
        return validation.lines

    async def _fail(self, problems: Sequence[object]) -> None:
        values = {"errors": to_json(problems).decode()}
        webhook = bool(self._batch.terms.webhook)
        if not await self.claim.end(BatchStatus.FAILED, values=values, webhook=webhook):
            raise LeaseLost
        await self._remove_folder()

    async def _answer(self) -> None:
        """Submit the lines and collect their results, until each has an end."""
        submission = asyncio.create_task(submit_lines(self, self._batch.submitted), name="batch-submit")
        pause, quiet_since, ended_at = MIN_PAUSE_SECONDS, time.monotonic(), float("-inf")
        try:
            while self.journal.rest:
                if submission.done():
                    submission.result()
                    if self.is_over and time.monotonic() - ended_at > END_AGAIN_SECONDS:
                        await self._end_rest()
                        ended_at = time.monotonic()
                if await self._collect():
                    pause, quiet_since = MIN_PAUSE_SECONDS, time.monotonic()
                    continue
                if submission.done() and time.monotonic() - quiet_since > RECONCILE_SECONDS:
                    await self._reconcile()
                    quiet_since = time.monotonic()
                await asyncio.sleep(pause)
                pause = min(MAX_PAUSE_SECONDS, pause * PAUSE_GROWTH)
        finally:
            await cancel_all(submission)

    async def _collect(self) -> bool:
        """Write the first results of the inbox, then acknowledge them. False: there was none."""
        entries = await read_first(self._link, self._batch.terms.inbox, self._read_limit)
        if not entries:
            return False
        size = sum(len(entry.packed_result) for entry in entries)
        doubled = self._read_limit * 2 if size < MAX_READ_BYTES else self._read_limit // 4
        self._read_limit = max(1, min(MAX_READ, doubled))
        await self.write(await asyncio.to_thread(self._rows_of, entries))
        handled = [text for entry in entries for text in (entry.entry_id, entry.job_id)]
        self.note(await self.claim.renew(values=self.progress, handled=handled))
        return True

    def _rows_of(self, entries: Sequence[InboxEntry]) -> list[JournalRow]:
        """The rows of the results among the entries. A reply for the meantime is none."""
        results: list[tuple[int, Result]] = []
        rows: list[JournalRow] = []
        for entry in entries:
            index = self._index_of(entry.job_id)
            if index is None or entry.kind != "done" or self.journal.has_end[index]:
                continue
            try:
                results.append((index, entry.result))
            except UnreadableEnvelope as error:
                rows.append(self.lines.refused(index, Refusal("other", str(error))))
        return rows + self.lines.ended(results, is_cancelled=self._is_cancelled)

    def _index_of(self, job_id: str) -> int | None:
        return index_of(self._batch.terms.id, job_id, len(self.lines.input))

    async def write(self, rows: Sequence[JournalRow]) -> None:
        """Put ends of lines on the disk. While it is full, wait: their results stay in Redis. Raises `OSError`."""
        waits = False
        while rows:
            try:
                await asyncio.to_thread(self.journal.add, rows)
                break
            except OSError as error:
                if not self.journal.is_open:
                    raise
                if not waits:
                    log.warning("batch %s waits for its disk: %s", self._batch.terms.id, error)
                    self.note(
                        await self.claim.renew(values={"why": f"its results cannot be written: {error.strerror}"})
                    )
                waits = True
            await asyncio.sleep(DISK_PAUSE_SECONDS)
        if waits:
            self.note(await self.claim.renew(values={"why": ""}))

    @property
    def progress(self) -> dict[str, int | str]:
        values: dict[str, int | str] = {end.name.lower(): self.journal.ends[end] for end in LineEnd}
        if (tokens := self.journal.tokens) is not None:
            values["usage"] = to_json(tokens.as_usage()).decode()
        return values

    async def _reconcile(self) -> None:
        """Take the results that did not come by the inbox, and submit the lines of lost jobs again. A job that is lost
        twice is given up."""
        for jobs in self._jobs_without_end():
            states = await fetch_states(self._link, list(jobs))
            done = [job for job, state in states.items() if state == "done"]
            results = await fetch_results(self._link, done)
            rows = await asyncio.to_thread(
                self.lines.ended,
                [(jobs[job], result) for job, result in results.items()],
                is_cancelled=self._is_cancelled,
            )
            lost = Refusal("other", "its job is no longer known: its result expired before it was collected")
            unknown = {jobs[job] for job, state in states.items() if state is None}
            rows += [self.lines.refused(index, lost) for index in unknown & self._submitted_again]
            await self.write(rows)
            await submit_again(self, sorted(unknown - self._submitted_again))
            self._submitted_again |= unknown
        self.note(await self.claim.renew(values=self.progress))

    async def _end_rest(self) -> None:
        """The batch is over: end the jobs that have no result, and the lines that have no job."""
        end = LineEnd.CANCELLED if self._is_cancelled else LineEnd.EXPIRED
        for jobs in self._jobs_without_end():
            states = await fetch_states(self._link, list(jobs))
            without_job = [jobs[job] for job, state in states.items() if state is None]
            rows = await asyncio.to_thread(self.lines.unanswered, without_job, end)
            done = await fetch_results(self._link, [job for job, state in states.items() if state == "done"])
            results = [(jobs[job], result) for job, result in done.items()]
            rows += await asyncio.to_thread(self.lines.ended, results, is_cancelled=self._is_cancelled)
            await self.write(rows)
            running = [job for job, state in states.items() if state not in (None, "done")]
            await asyncio.gather(*(self._end_job(job, end) for job in running))
            self.note(await self.claim.renew(values=self.progress))

    async def _end_job(self, job_id: str, end: LineEnd) -> None:
        if end is LineEnd.CANCELLED:
            result = Result(
                id=job_id, status=Status.CANCELLED, error=ErrorClass.CANCELLED, detail="its batch was cancelled"
            )
            rq_status = "canceled"
        else:
            result = Result(id=job_id, status=Status.EXPIRED, detail="the completion window of its batch ended")
            rq_status = "failed"
        with suppress(UnknownJob):
            await end_job(self._link, result, rq_status=rq_status)

    def _jobs_without_end(self) -> list[dict[str, int]]:
        """The jobs of the lines without an end, in blocks: their lines by their ids."""
        batch_id, has_end = self._batch.terms.id, self.journal.has_end
        rest = [index for index in range(len(has_end)) if not has_end[index]]
        blocks = [rest[first : first + BLOCK] for first in range(0, len(rest), BLOCK)]
        return [{job_id_of(batch_id, index): index for index in block} for block in blocks]

    async def _finish(self) -> None:
        """Write the files of results, then the end of the batch."""
        before = (BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING)
        self.note(await self.claim.renew(values=self.progress, status=(BatchStatus.FINALIZING, before)))
        files = await write_results(self.gateway, self._batch, self.journal)
        status = final_status(self.journal.ends, is_cancelled=self._is_cancelled)
        values = {**self.progress, **{f"{kind}_file_id": file.id for kind, file in files.items()}, "why": ""}
        webhook = bool(self._batch.terms.webhook)
        if not await self.claim.end(status, values=values, files=[*files.values()], webhook=webhook):
            raise LeaseLost
        await self._remove_folder()

    async def _remove_folder(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
