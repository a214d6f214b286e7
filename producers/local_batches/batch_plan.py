"""The plan of a batch, and its progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import cast

from pydantic_core import to_json

from openfall.producers.errors import BatchFileError
from openfall.producers.job_request import SubmitOptions
from openfall.producers.local_batches.batch_file_lines import BatchLine, InvalidLine, read_lines
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_fingerprint import digest, sorted_deep
from openfall.router_core.jobs.result import Result

MARK_LENGTH = 8
"""Last letters of a job id that are the mark of its request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """One run of a batch. Its role, task, group, local-only and urgency override those of the lines. `limit` counts
    lines."""

    name: str
    source: Path
    role: str | None = None
    task: str | None = None
    group: str | None = None
    local_only: bool = False
    urgency: str | None = None
    limit: int | None = None
    retry_failed: bool = False
    retry_edited: bool = False

    @property
    def options(self) -> SubmitOptions:
        """The options that override those of every line."""
        names = ("role", "task", "group", "local_only", "urgency")
        options = {name: value for name in names if (value := getattr(self, name)) not in (None, False)}
        return cast("SubmitOptions", options)


@dataclass(slots=True)
class BatchTally:
    """The progress of a batch, in lines. `answered_before`: answered in an earlier run. `lost`: Redis no longer knows
    the job. `wait_reason`: why lines wait to be submitted, in two words; empty when none do.
    `blockage`: why no line is answered now; empty: lines are answered, or nothing is known to keep them.
    `edited`: lines whose request has changed since it was answered.

    In this run: `fallbacks` were answered by another model than their first, `usd` is the known cost, and `unpriced`
    counts lines whose cost is unknown. `errors` counts the failed lines by their error code.
    """

    total: int = 0
    answered_before: int = 0
    answered: int = 0
    failed: int = 0
    lost: int = 0
    fallbacks: int = 0
    usd: float = 0.0
    unpriced: int = 0
    wait_reason: str = ""
    blockage: str = ""
    errors: Counter[str] = field(default_factory=Counter)
    invalid: list[InvalidLine] = field(default_factory=list)
    edited: list[BatchLine] = field(default_factory=list)

    def add(self, result: Result, error: str | None) -> None:
        """Count the result of a line. `error` is the code in its row; None: it is answered."""
        self.answered += error is None
        self.failed += error is not None
        self.errors.update([error] if error is not None else [])
        self.fallbacks += result.fallback_used
        self.usd += result.cost_usd or 0.0
        self.unpriced += result.cost_usd is None

    @property
    def settled(self) -> int:
        return self.answered_before + self.answered + self.failed + self.lost

    @property
    def all_answered(self) -> bool:
        return not (self.failed or self.lost or self.invalid or self.edited)

    @property
    def outcome(self) -> str:
        """`38 of 40 answered (20 of them earlier), 2 failed`."""
        before = f" ({self.answered_before:,} of them earlier)" if self.answered_before else ""
        answered = self.answered + self.answered_before
        return f"{answered:,} of {self.total:,} answered{before}, {self.failed:,} failed"


def derive_job_id(name: str, line: BatchLine, job: CompletionJob, failed_row: str) -> str:
    """The id of the job of a line: the same in every run of the batch. A retry of a failed row has its own."""
    parts = (name, line.custom_id, digest(job), failed_row)
    return sha256("\0".join(parts).encode()).hexdigest()[:24] + _request_mark(line)


def is_edited(line: BatchLine, row_id: str) -> bool:
    """Whether a row answers another request than the line has now. False if the id of the row does not say."""
    job_id = row_id.removeprefix("batch_req_")
    return len(job_id) == 24 + MARK_LENGTH and job_id[24:] != _request_mark(line)


def _request_mark(line: BatchLine) -> str:
    return sha256(to_json(sorted_deep(line.request.prompt))).hexdigest()[:MARK_LENGTH]


def read_plan(plan: BatchPlan) -> Iterator[BatchLine | InvalidLine]:
    """The lines of its file. Raises `BatchFileError`."""
    try:
        with plan.source.open("rb") as source:
            yield from islice(read_lines(source), plan.limit)
    except OSError as error:
        raise BatchFileError(f"{plan.source} cannot be read: {error.strerror}") from error
