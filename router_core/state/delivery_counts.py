"""What a delivery adds to the counts of the fleet: pure. The scripts write it down (`lua/lib/metrics.lua`).

A field of a hash has words: labels, then a cell. The cell of an answered job is `answered 2.5`: it took at most 2.5 s,
and longer than the bound before that. So the number of jobs and the histogram of their times are the same fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from openfall.router_core.deciding.steps import Handoff
from openfall.router_core.degrading.degrade import DefaultFallback
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.histogram_buckets import FIRST_TOKEN_BOUNDS, JOB_BOUNDS, WAIT_BOUNDS, bucket

FELL_BACK = "fell_back"
"""The outcome of a job that was answered in place of its first choice."""
ANSWERED_OUTCOMES = (Status.ANSWERED.value, FELL_BACK, Status.DEGRADED.value)
"""Outcomes whose time is counted."""
OUTCOMES = (*ANSWERED_OUTCOMES, Status.FAILED.value, Status.EXPIRED.value, Status.CANCELLED.value)

_MAX_AMOUNT = 10**12

Row = list[str | int]
"""Labels, then a cell and its amount, and further cells with theirs."""


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """Rows that a script adds to the counts of jobs, and to the other metrics."""

    jobs: Sequence[Row]
    metrics: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryEnd:
    """The end of a delivery. `model`: in whose queue it was claimed. `attempt`: its call; None: none was made.
    `first_token_seconds`: from the start of the call; None: it was not streamed. `substituted`: the job ends with an
    answer in place of its first choice. `fall_reason`: why the job fell before it."""

    model: str
    step: object
    attempt: Attempt | None = None
    first_token_seconds: float | None = None
    substituted: bool = False
    fall_reason: str | None = None


@lru_cache(maxsize=4096)
def word(name: str | None) -> str:
    """A name as a word of a field."""
    return quote(name, safe="") if name else "-"


def count_delivery(job: CompletionJob, end: DeliveryEnd) -> DeliveryCounts:
    """What the end of a delivery adds to the counts."""
    jobs, metrics = [], []
    if isinstance(end.step, Result) and end.step.final:
        jobs.append(_job_row(job, end.step, substituted=end.substituted))
        if end.attempt is not None and end.step.answered:
            metrics.append(_histogram(f"wait {word(end.attempt.model)} {job.urgency}", end.step.waited, WAIT_BOUNDS))
    if end.attempt is not None:
        tokens, labels = _token_cells(end.attempt), _labels(job, end.attempt.model)
        if jobs and jobs[0][0] == labels:
            jobs[0] += tokens
        elif tokens:
            jobs.append([labels, *tokens])
        if end.first_token_seconds is not None:
            place = f"first_token {word(end.attempt.model)} {word(end.attempt.backend)}"
            metrics.append(_histogram(place, end.first_token_seconds, FIRST_TOKEN_BOUNDS))
    metrics += _moves(job, end)
    return DeliveryCounts(jobs, metrics)


def count_end(job: CompletionJob, result: Result, *, substituted: bool = False) -> DeliveryCounts:
    """What a job adds to the counts that ends outside a delivery."""
    return DeliveryCounts([_job_row(job, result, substituted=substituted)], [])


def count_move(from_model: str, to_model: str, cause: str) -> Row:
    """A job goes to another model."""
    return [f"fallback {word(from_model)} {word(to_model)} {word(cause)}", "n", 1]


def _labels(job: CompletionJob, model: str | None) -> str:
    return f"{word(job.role or job.task)} {job.urgency} {word(job.group)} {word(model)}"


def _job_row(job: CompletionJob, result: Result, *, substituted: bool) -> Row:
    outcome = FELL_BACK if substituted and result.status is Status.ANSWERED else result.status.value
    labels = _labels(job, result.model or job.chain[0])
    if outcome not in ANSWERED_OUTCOMES:
        return [labels, outcome, 1]
    return [labels, f"{outcome} {bucket(result.took, JOB_BOUNDS)}", 1, "ms", _milliseconds(result.took)]


def _token_cells(attempt: Attempt) -> Row:
    cells: Row = []
    for cell, tokens in (("in", attempt.input_tokens), ("out", attempt.output_tokens)):
        if tokens:
            cells += [cell, min(max(0, tokens), _MAX_AMOUNT)]
    return cells


def _histogram(labels: str, seconds: float, bounds: Sequence[float]) -> Row:
    return [labels, bucket(seconds, bounds), 1, "ms", _milliseconds(seconds)]


def _milliseconds(seconds: float) -> int:
    return min(max(0, round(seconds * 1000)), _MAX_AMOUNT)


def _moves(job: CompletionJob, end: DeliveryEnd) -> list[Row]:
    """The fallbacks of a job, and what Open Fall does for it."""
    match end.step:
        case Handoff(model=model, kind=kind) if kind is not None:
            cause = end.attempt.error if end.attempt is not None and end.attempt.error else kind
            return [count_move(end.attempt.model if end.attempt else end.model, model, cause)]
        case DefaultFallback(model=model, reason=reason):
            return [count_move(job.as_configured[0], model, reason)]
        case Hold(reason=reason, by=by):
            return [[f"degraded {job.urgency} {word(reason)} {word(by or 'hold')}", "n", 1]]
        case Result(degraded=True, degraded_by=by) if by is not None:
            return [[f"degraded {job.urgency} {word(end.fall_reason)} {word(by)}", "n", 1]]
    return []
