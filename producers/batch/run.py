"""A batch: every request of a file becomes a job, and every end of a job a line of another.

The queue is durable, so all requests are put in at once, and the work goes on without us. A job's id follows from the
batch's name and the request, so that whoever runs the batch again meets the jobs in flight instead of buying twice.

Ends are found by asking for results (`ended`), not by listening: a hundred thousand subscriptions cost Redis and us
more than the answers do, and a job that somebody listens to keeps its whole story. Jobs end roughly in the order in
which they were put in, so the head of the line is asked after each time, and a slice of the rest in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from typing import Any

from openfall.producers.batch.files import (
    BatchLine,
    InvalidLine,
    Journal,
    JournalState,
    answer_row,
    read_lines,
    refusal_row,
)
from openfall.producers.batch.plan import BatchPlan, BatchTally
from openfall.producers.client import BULK, AsyncOpenfall
from openfall.producers.errors import BadRequest, BatchFileError, ProducerError
from openfall.producers.request import (
    NOTHING_SEEN,
    FleetView,
    PreparedJob,
    SubmitOptions,
    prepare,
)
from openfall.producers.submit import Prepared, Refused
from openfall.router_core.catalog.entries import UnknownName
from openfall.router_core.jobs.envelope import digest
from openfall.router_core.state.errors import Backpressure, StoreUnreachable
from openfall.router_core.state.fleet_status import fetch_results, fetch_states
from openfall.router_core.state.jobs import Receipt

HEAD, SLICE = 1024, 256
"""Jobs asked after in each round: the longest waiting, and some of the others in turn."""
OFFER_AGAIN = 5.0
"""Seconds at most between two offers of lines that found no room: more time than that is not worth losing."""
FASTEST, SLOWEST, SLOWER = 0.05, 1.0, 1.5
"""Seconds between rounds: the fastest while answers come, by a factor slower each round in which none does."""


class BatchRun:
    """Carries one run. `changed` is called when something has come to be on the disk, `noticed` with words.

    `past` is what earlier runs brought. Of it only the ids of failed lines serve a run that asks those again.
    """

    def __init__(self, client: AsyncOpenfall, plan: BatchPlan, past: JournalState) -> None:
        self._client, self._plan, self._past = client, plan, past
        self._waiting: dict[str, BatchLine] = {}
        self._turn: Iterator[str] = iter(())
        self._rows: list[dict[str, Any]] = []
        self._told = False
        self.tally = BatchTally()
        self.changed: Callable[[], None] = lambda: None
        self.noticed: Callable[[str], None] = lambda words: None

    async def run(self, journal: Journal) -> BatchTally:
        """Put in what has no answer yet, and write down every end. Bears outages of Redis once all is put in."""
        submitting = asyncio.create_task(self._submit(journal))
        try:
            pause = FASTEST
            while self._waiting or not submitting.done():
                if submitting.done():
                    submitting.result()
                    await asyncio.sleep(pause)
                else:
                    await asyncio.wait([submitting], timeout=pause)
                pause = FASTEST if await self._collect(journal, pause >= SLOWEST) else min(SLOWEST, pause * SLOWER)
            await submitting
        finally:
            submitting.cancel()
        return self.tally

    def check_options(self) -> None:
        """`UnknownName` for the plan's role, task or urgency, which no line could mend."""
        with suppress(BadRequest):  # whether a model fits is another question for each line
            prepare(self._client.loaded, self._client.producer, PreparedJob("any", self._plan.options))

    def check(self) -> BatchTally:
        """Read and route every line, put nothing in."""
        for line in self._lines():
            prepared = self._prepared(line)
            if isinstance(prepared, InvalidLine):
                self._refuse(prepared)
        return self.tally

    async def look(self) -> dict[str | None, int]:
        """How many of the lines without an answer are in which state; None: not known to Redis."""
        jobs = [prepared[0].id for line in self._lines() if isinstance(prepared := self._prepared(line), tuple)]
        told = list((await fetch_states(self._client.link, jobs)).values())
        return {state: told.count(state) for state in set(told)}

    async def _submit(self, journal: Journal) -> None:
        lines = self._lines()
        while chunk := list(islice(lines, BULK)):
            seen = await self._client.seen()
            prepared = [(line, self._prepared(line, seen)) for line in chunk]
            offers = [(line, job) for line, job in prepared if not isinstance(job, InvalidLine)]
            for bad in await self._not_in([(line, bad) for line, bad in prepared if isinstance(bad, InvalidLine)]):
                self._refuse(bad)
            await self._put_in(offers)
            self._write_refusals(journal)
        self._write_refusals(journal)

    async def _put_in(self, offers: list[tuple[BatchLine, Prepared]]) -> None:
        """Put lines in. Those that find no room wait for it, as long as it takes."""
        while offers:
            answers = await self._client.offer([job for _, job in offers], bears=(StoreUnreachable,))
            told = list(zip(offers, answers, strict=True))
            self._took((line, answer) for (line, _), answer in told if not isinstance(answer, Backpressure))
            offers = [offer for offer, answer in told if isinstance(answer, Backpressure)]
            first = next((answer for answer in answers if isinstance(answer, Backpressure)), None)
            self._hindered_by(first)
            if first is not None:
                await asyncio.sleep(min(OFFER_AGAIN, first.retry_after))

    def _hindered_by(self, error: Backpressure | None) -> None:
        """Say it when it begins. A queue that drains is full again with every chunk: that is said once."""
        if error is not None and not self._told:
            self._told = True
            self.noticed(f"{error}. The batch waits, and goes on as there is room.")
        self.tally.hindered = f"{error.short}, waiting" if error is not None else ""
        self.changed()

    async def _not_in(self, refused: list[tuple[BatchLine, InvalidLine]]) -> list[InvalidLine]:
        """Of lines refused as the fleet is now, those that no earlier run put in; the others are waited for."""
        known = {job[0].id: line for line, _ in refused if isinstance(job := self._prepared(line, NOTHING_SEEN), tuple)}
        told = await fetch_states(self._client.link, list(known)) if known else {}
        put_in = {job: line for job, line in known.items() if told[job] is not None}
        self._waiting.update(put_in)
        numbers = {line.number for line in put_in.values()}
        return [bad for _, bad in refused if bad.number not in numbers]

    def _took(self, answers: Iterable[tuple[BatchLine, Receipt | Refused]]) -> None:
        for line, answer in answers:
            if not isinstance(answer, Receipt):
                raise answer  # of Redis: nothing that another line would be spared
            self._waiting[answer.id] = line

    def _lines(self) -> Iterator[BatchLine]:
        """The lines that have no answer yet. Counts all of them."""
        try:
            with self._plan.source.open("rb") as source:
                for read in islice(read_lines(source), self._plan.limit):
                    self.tally.total += 1
                    if isinstance(read, InvalidLine):
                        self._refuse(read)
                    elif read.custom_id in self._past.answered:
                        self.tally.before += 1
                    elif read.custom_id in self._past.failed and not self._plan.retry_failed:
                        self.tally.failed += 1
                    else:
                        yield read
        except OSError as error:
            raise BatchFileError(f"{self._plan.source} cannot be read: {error.strerror}") from error

    def _prepared(self, line: BatchLine, seen: FleetView = NOTHING_SEEN) -> Prepared | InvalidLine:
        """The job of a line, under the id that it always has. A failed one that is asked again gets another."""
        plan, ask = self._plan, line.ask
        options = SubmitOptions(**{**ask.options, **plan.options})
        try:
            job, terms = prepare(self._client.loaded, self._client.producer, PreparedJob(ask.prompt, options), seen)
        except (ProducerError, UnknownName) as error:
            return InvalidLine(line.number, str(error), line.custom_id)
        parts = (plan.name, line.custom_id, digest(job), self._past.failed.get(line.custom_id, ("", ""))[0])
        job_id = sha256("\0".join(parts).encode()).hexdigest()[:32]
        return job.model_copy(update={"id": job_id}), terms

    def _refuse(self, bad: InvalidLine) -> None:
        known = bad.custom_id is not None and bad.custom_id in self._past.failed and not self._plan.retry_failed
        self.tally.bad.append(bad)
        self.tally.failed += 1
        if not known:
            self.noticed(str(bad))
        if bad.custom_id is not None and not known:
            self._rows.append(refusal_row(bad.number, bad.custom_id, bad.reason))

    def _write_refusals(self, journal: Journal) -> None:
        rows, self._rows = self._rows, []
        journal.add(rows)

    async def _collect(self, journal: Journal, thorough: bool) -> bool:
        """Write down what has ended among those in turn; `thorough` also looks for jobs that are gone."""
        jobs = [*islice(self._waiting, HEAD), *islice(self._in_turn(), SLICE)]
        try:
            results = await fetch_results(self._client.link, jobs)
            missing = [job for job in jobs if job not in results] if thorough else []
            known = await fetch_states(self._client.link, missing)
        except StoreUnreachable as error:
            self.noticed(f"{error}. The jobs are safe; looking again until it is back.")
            await asyncio.sleep(SLOWEST)
            return False
        rows = [answer_row(job, self._waiting[job].custom_id, result) for job, result in results.items()]
        journal.add(rows)
        self._settled(rows, results)
        for result in results.values():
            self.tally.note(result)
        for job in [job for job, state in known.items() if state is None]:
            del self._waiting[job]
            self.tally.gone += 1
            self.noticed(f"job {job} is not known to Redis any more")
        self.changed()
        return bool(results)

    def _settled(self, rows: list[dict[str, Any]], jobs: Iterable[str]) -> None:
        for job in jobs:
            del self._waiting[job]
        self.tally.answered += sum(row["error"] is None for row in rows)
        self.tally.failed += sum(row["error"] is not None for row in rows)

    def _in_turn(self) -> Iterator[str]:
        """Waiting jobs behind the head, each once before any comes again."""
        for job in self._turn:
            if job in self._waiting:
                yield job
        self._turn = iter(list(islice(self._waiting, HEAD, None)))
