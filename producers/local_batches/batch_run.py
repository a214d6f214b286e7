"""Runs a batch: each request of a file becomes a job, each result a row of the output file.

The queue is durable, so all requests are submitted at once, and the work continues without this process. A job's id
derives from the batch's name and the request, so a second run of the batch joins the jobs in flight and buys nothing
twice.

Results are polled, not subscribed to: a hundred thousand subscriptions cost Redis and this process more than the
answers do, and Redis keeps all events of a job that has a listener. Jobs end roughly in the order of submission, so
every round polls the head of the line, and a slice of the rest in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from openfall.producers.batch_wait_reason import explain_waiting
from openfall.producers.client import AsyncOpenfall
from openfall.producers.errors import BadRequest, ProducerError
from openfall.producers.job_request import UNKNOWN_FLEET, FleetView, JobRequest, PreparedJob, SubmitOptions, prepare
from openfall.producers.local_batches.batch_file_lines import (
    BatchLine,
    InvalidLine,
    answer_row,
)
from openfall.producers.local_batches.batch_plan import BatchPlan, BatchTally, derive_job_id, is_edited, read_plan
from openfall.producers.local_batches.output_journal import Journal, JournalState
from openfall.producers.local_batches.refused_lines import RefusedLines
from openfall.producers.local_batches.saved_plans import jobs_path
from openfall.producers.local_batches.submitted_jobs import SubmittedJobs
from openfall.producers.submit_chunks import SUBMIT_CHUNK
from openfall.producers.submit_retries import UNCERTAIN, refused_by_full_queue, submit_with_retry, wait_for_room
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import Backpressure, StoreUnreachable
from openfall.router_core.state.job_records import fetch_results, fetch_states
from openfall.router_core.state.jobs import Receipt

HEAD, SLICE = 1024, 256
"""Jobs polled in each round: the longest waiting, and some of the others in turn."""
MAX_SENDING_SECONDS = 5.0
"""How long an interrupted run waits for the reply to the lines that it is submitting."""
MIN_POLL_SECONDS, MAX_POLL_SECONDS, POLL_BACKOFF = 0.05, 1.0, 1.5
"""Pause between rounds: short while answers come, longer by a factor after each round without any."""


class BatchRun:
    """One run. `on_progress` is called when rows are on disk, `on_notice` with a message for the user. `on_read` is
    called from a thread with the number of lines whose jobs are known: a line that is not submitted takes about a third
    of a millisecond.

    `earlier` has the rows of earlier runs. A run that retries failed lines needs the ids of their rows.
    """

    def __init__(self, client: AsyncOpenfall, plan: BatchPlan, earlier: JournalState) -> None:
        self._client, self._plan, self._earlier = client, plan, earlier.without((), earlier.refused)
        self._refused = RefusedLines({} if plan.retry_failed else earlier.refused)
        self._waiting: dict[str, BatchLine] = {}
        self._is_cut_off = False
        self._turn: Iterator[str] = iter(())
        self._submitted_again: set[str] = set()
        terms = f"{sorted(plan.options.items())} {catalog_digest(client.config.catalog)}"
        self._submitted = SubmittedJobs(jobs_path(client.config.settings.data_dir, plan.name), terms)
        self._backpressure_noticed = False
        self.tally = BatchTally()
        self.on_progress: Callable[[], None] = lambda: None
        self.on_notice: Callable[[str], None] = lambda message: None
        self.on_read: Callable[[int], None] = lambda count: None

    async def run(self, journal: Journal) -> BatchTally:
        """Submit the lines without an answer, and write every result. Once all are submitted it survives outages of
        Redis."""
        submitting = asyncio.create_task(self._submit(journal))
        try:
            pause = MIN_POLL_SECONDS
            while self._waiting or not submitting.done():
                if submitting.done():
                    submitting.result()
                    await asyncio.sleep(pause)
                else:
                    await asyncio.wait([submitting], timeout=pause)
                any_ended = await self._collect(journal, find_lost=pause >= MAX_POLL_SECONDS)
                pause = MIN_POLL_SECONDS if any_ended else min(MAX_POLL_SECONDS, pause * POLL_BACKOFF)
            await submitting
            self._submitted.remove()
        finally:
            submitting.cancel()  # once: it counts the lines that are on their way
            await asyncio.wait([submitting], timeout=2 * MAX_SENDING_SECONDS)
            await cancel_all(submitting)
        return self.tally

    @property
    def in_queue(self) -> int:
        """The lines that are submitted and have no result yet."""
        return len(self._waiting)

    def check_options(self) -> None:
        """Raises `UnknownName` for the plan's role, task or urgency: every line would fail."""
        with suppress(BadRequest):  # whether a model fits depends on the line
            prepare(self._client.config, self._client.producer, JobRequest("any", self._plan.options))

    def check(self) -> BatchTally:
        """Read and route every line. Submits nothing."""
        for line in self._lines():
            prepared = self._prepare(line)
            if isinstance(prepared, InvalidLine):
                self._refuse(prepared)
        return self.tally

    async def job_states(self) -> dict[str, str | None]:
        """The jobs of the lines without an answer, and their states. None: Redis does not know the job."""
        jobs = await asyncio.to_thread(self._job_ids)
        return await fetch_states(self._client.store.connection, jobs)

    def _job_ids(self) -> list[str]:
        jobs, submitted = list[str](), self._submitted.read()
        for line in self._lines():
            job_id = submitted.get(line.custom_id, "")
            if not job_id or is_edited(line, job_id):
                prepared = self._prepare(line)
                if isinstance(prepared, InvalidLine):
                    self._refuse(prepared)
                    continue
                job_id = prepared[0].id
            jobs.append(job_id)
            if len(jobs) % SLICE == 0:
                self.on_read(len(jobs))
        return jobs

    async def _submit(self, journal: Journal) -> None:
        lines = self._lines()
        while chunk := list(islice(lines, SUBMIT_CHUNK)):
            fleet = await self._client.store.fleet()
            prepared = [(line, self._prepare(line, fleet)) for line in chunk]
            refused = [(line, item) for line, item in prepared if isinstance(item, InvalidLine)]
            for invalid in await self._not_submitted_before(refused):
                self._refuse(invalid)
            accepted = [(line, item) for line, item in prepared if not isinstance(item, InvalidLine)]
            self._refused.write(journal, {line.custom_id for line, _ in accepted})
            await self._submit_chunk(accepted)
        self._refused.write(journal, set())

    async def _submit_chunk(self, jobs: list[tuple[BatchLine, PreparedJob]]) -> None:
        """Submit lines. Lines that a full queue refuses are retried without limit."""
        while jobs:
            sending = asyncio.create_task(self._send(jobs))
            try:
                jobs, backpressure = await asyncio.shield(sending)
            except asyncio.CancelledError:  # what is on its way is counted: an interrupted run says what it submitted
                await asyncio.wait([sending], timeout=MAX_SENDING_SECONDS)
                await cancel_all(sending)
                raise
            self._note_backpressure(backpressure)
            if backpressure is not None:
                await wait_for_room(backpressure)

    async def _send(
        self, jobs: list[tuple[BatchLine, PreparedJob]]
    ) -> tuple[list[tuple[BatchLine, PreparedJob]], Backpressure | None]:
        """Submit lines once. Returns those that a full queue refuses, and its refusal."""
        answers = await submit_with_retry(
            self._client.store.jobs, [job for _, job in jobs], UNCERTAIN, self._client.retry_for
        )
        pairs = zip(jobs, answers, strict=True)
        accepted = {answer.id: line for (line, _), answer in pairs if isinstance(answer, Receipt)}
        self._waiting.update(accepted)
        rows = [(line.custom_id, job_id) for job_id, line in accepted.items()]
        await asyncio.to_thread(self._submitted.add, rows)  # the gateway retries batches: a disk must not stop it
        for answer in answers:
            if not isinstance(answer, Receipt | Backpressure):
                raise answer  # an error of Redis, which every other line would meet too
        return refused_by_full_queue(jobs, answers)

    def _note_backpressure(self, error: Backpressure | None) -> None:
        """Gives one notice: a queue that drains is full again with every chunk."""
        if error is not None and not self._backpressure_noticed:
            self._backpressure_noticed = True
            self.on_notice(f"{error}. The batch waits, and goes on as there is room.")
        self.tally.wait_reason = f"{error.summary}, waiting" if error is not None else ""
        self.on_progress()

    async def _not_submitted_before(self, refused: list[tuple[BatchLine, InvalidLine]]) -> list[InvalidLine]:
        """The refused lines that no earlier run submitted. The others are waited for: the fleet's state alone refuses
        them now."""
        lines = {job[0].id: line for line, _ in refused if isinstance(job := self._prepare(line), tuple)}
        states = await fetch_states(self._client.store.connection, list(lines)) if lines else {}
        submitted = {job: line for job, line in lines.items() if states[job] is not None}
        self._waiting.update(submitted)
        numbers = {line.number for line in submitted.values()}
        return [invalid for _, invalid in refused if invalid.number not in numbers]

    def _lines(self) -> Iterator[BatchLine]:
        """The lines without an answer. Counts all lines."""
        for line in read_plan(self._plan):
            self.tally.total += 1
            if isinstance(line, InvalidLine):
                self._refuse(line)
            elif row := self._earlier.answered.get(line.custom_id):
                self._count_answered(line, row)
            elif line.custom_id in self._earlier.failed and not self._plan.retry_failed:
                self.tally.failed += 1
            else:
                yield line

    def _prepare(self, line: BatchLine, fleet: FleetView = UNKNOWN_FLEET) -> PreparedJob | InvalidLine:
        """The job of a line, with its derived id. A retry of a failed line gets a new id."""
        plan, request = self._plan, line.request
        options = SubmitOptions(**{**request.options, **plan.options})
        try:
            job, terms = prepare(self._client.config, self._client.producer, JobRequest(request.prompt, options), fleet)
        except (ProducerError, UnknownName) as error:
            return InvalidLine(line.number, str(error), line.custom_id)
        failed_row, _ = self._earlier.failed.get(line.custom_id, ("", ""))
        return job.model_copy(update={"id": derive_job_id(plan.name, line, job, failed_row)}), terms

    def _count_answered(self, line: BatchLine, row_id: str) -> None:
        self.tally.answered_before += 1
        if is_edited(line, row_id):
            self.tally.edited.append(line)
            self.on_notice(
                f"line {line.number}: custom_id {line.custom_id!r} was answered before with another prompt; "
                "that answer is kept. To answer the new prompt: --retry-edited, or a new custom_id"
            )

    def _refuse(self, line: InvalidLine) -> None:
        self.tally.invalid.append(line)
        self.tally.failed += 1
        if line.custom_id in self._earlier.failed and not self._plan.retry_failed:
            return
        self.on_notice(str(line))
        self._refused.add(line)

    async def _collect(self, journal: Journal, find_lost: bool) -> bool:
        """Write the results of this round's jobs. True: there were some. `find_lost` also finds unknown jobs."""
        jobs = [*islice(self._waiting, HEAD), *islice(self._in_turn(), SLICE)]
        connection = self._client.store.connection
        try:
            results = await fetch_results(connection, jobs)
            missing = [job for job in jobs if job not in results] if find_lost else []
            states = await fetch_states(connection, missing)
            await self._note_blockage(jobs if find_lost and not results else [])
            await self._submit_lost([job for job, state in states.items() if state is None])
        except StoreUnreachable as error:
            if not self._is_cut_off:  # one line for each outage, however long it lasts
                self.on_notice(f"{error}. The jobs are safe; the batch resumes when Redis is back.")
            self._is_cut_off = True
            await asyncio.sleep(MAX_POLL_SECONDS)
            return False
        self._is_cut_off = False
        rows = {job: answer_row(job, self._waiting[job].custom_id, result) for job, result in results.items()}
        journal.add(rows.values())
        for job, result in results.items():
            del self._waiting[job]
            failure = rows[job]["error"]
            self.tally.add(result, None if failure is None else str(failure["code"]))
        self.on_progress()
        return bool(results)

    async def _submit_lost(self, jobs: list[str]) -> None:
        """Submit the lines of jobs that Redis has lost again, each once."""
        again = []
        for job in jobs:
            prepared = self._prepare(line := self._waiting[job])
            if job in self._submitted_again or isinstance(prepared, InvalidLine):
                del self._waiting[job]
                self.tally.lost += 1
            else:
                again.append((line, prepared))
        if jobs:
            self.on_notice(f"Redis no longer knows {len(jobs)} of the jobs; {len(again)} are submitted again")
        await self._submit_chunk(again)
        self._submitted_again.update(prepared[0].id for _, prepared in again)

    async def _note_blockage(self, jobs: list[str]) -> None:
        """Find out why none of the jobs is answered. Gives one notice for each standstill."""
        before, self.tally.blockage = self.tally.blockage, await explain_waiting(self._client, jobs)
        if self.tally.blockage and not before:
            self.on_notice(f"no line is answered now: {self.tally.blockage}")

    def _in_turn(self) -> Iterator[str]:
        """Waiting jobs behind the head, each once before any repeats."""
        for job in self._turn:
            if job in self._waiting:
                yield job
        self._turn = iter(list(islice(self._waiting, HEAD, None)))
