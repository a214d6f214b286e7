"""Open Fall: the open incidents, and the held jobs with what was tried and what the caller was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfall.producers.held_release_text import (
    EXPECTED_BY_CARD,
    describe_conditions,
    expected_return,
    operator_act,
    release_condition,
    release_conditions,
)
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.model_calls import ModelCalls
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, ErrorClass, HoldReason

MAX_GROUPS, MAX_ROWS = 25, 25
CAUSE_NAMES = {"no_worker": "no worker runs"}
"""Causes of an incident that are no error of a call."""
REMEDIES = {
    "default_fallback": "another model stood in",
    "last_answer": "the last good answer",
    "canned_reply": "a canned reply",
    "nothing": "nothing yet",
    "": "nothing yet",
}
UNKNOWN = "not known any more"
"""What the caller saw, where the record of the fall is not among the last ones."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A held job. `shown`: what its caller saw.

    `release`: what releases it, or what an operator does about it. `release_at`: a moment of that, which stands behind
    `release_text`; None: none is known."""

    job: HeldJob
    shown: str
    release: str
    release_at: float | None = None
    release_text: str = ""
    why_not: str = ""
    """Why it is not replayed now: no model could be called."""

    @property
    def tried(self) -> str:
        """What became of its calls, in their order. A call that a dead worker made is not among them."""
        if not self.job.packed_calls:
            return "no call ended"
        calls = [f"{call.model} {call.cause or 'answered'}" for call in self.job.calls]
        return " → ".join(calls) or "not known: its calls cannot be read"


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """Held jobs that differ only in their ids and times: the first is shown, `rows` are some of `count`."""

    rows: tuple[HeldRow, ...]
    count: int

    @property
    def first(self) -> HeldRow:
        return self.rows[0]

    @property
    def is_of_one_cause(self) -> bool:
        """Whether the reason of the first is that of all."""
        return self.count == len(self.rows) and len({row.job.why for row in self.rows}) == 1


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    calls = ModelCalls(snapshot)
    rows = [_row(job, snapshot.fallen.get(job.id, {}), calls) for job in snapshot.held_jobs]
    groups = _groups(rows)
    return {
        "incidents": snapshot.incidents,
        "cause_names": {**{error.value: error.value.replace("_", " ") for error in ErrorClass}, **CAUSE_NAMES},
        "groups": groups[:MAX_GROUPS],
        "shown": sum(group.count for group in groups[:MAX_GROUPS]),
        "total": snapshot.held.total,
        "falling": snapshot.status.falling,
        "returns": any(job.reason in RELEASED_BY_ITSELF for job in snapshot.held_jobs)
        or len(snapshot.held_jobs) < snapshot.held.total,
        "why_not_ready": _why_not_ready(calls),
    }


def _groups(rows: Sequence[HeldRow]) -> list[HeldGroup]:
    """The rows in the order of their first job."""
    alike: dict[tuple[object, ...], list[HeldRow]] = {}
    for row in rows:
        job = row.job
        own = job.id if job.reason is HoldReason.POISONED else ""
        key = (own, job.reason, job.role, job.urgency, row.tried, row.shown, row.release, bool(row.why_not))
        alike.setdefault(key, []).append(row)
    return [HeldGroup(tuple(group[:MAX_ROWS]), len(group)) for group in alike.values()]


def _why_not_ready(calls: ModelCalls) -> str:
    """Why none of the shown jobs could be called now; empty: one could, or more are held than are shown."""
    snapshot = calls.snapshot
    jobs = [job for job in snapshot.held_jobs if job.reason in RELEASED_BY_ITSELF]
    if not jobs or len(snapshot.held_jobs) < snapshot.held.total or any(map(calls.is_ready, jobs)):
        return ""
    conditions = [each for job in jobs for each in release_conditions(job, snapshot.catalog, calls.blocks)]
    return f"None can run: they return when {describe_conditions(conditions)}." if conditions else "None can run."


def _row(job: HeldJob, fall: Mapping[str, Any], calls: ModelCalls) -> HeldRow:
    by = str(fall.get("by") or "") if fall else UNKNOWN
    shown = REMEDIES.get(by, by)
    condition = release_condition(job, calls.snapshot.catalog, calls.blocks)
    if not condition:
        return HeldRow(job, shown, f"An operator decides: {operator_act(job)}")
    release = f"Returns by itself when {condition}"
    why_not = "" if calls.can_run(job) else "It cannot run now."
    if job.ready_at <= calls.snapshot.now:
        start = expected_return(job, calls.snapshot.catalog, calls.blocks)
        return HeldRow(job, shown, release, start, EXPECTED_BY_CARD, why_not)
    text = "in" if job.reason is HoldReason.BUDGET else "in at least"
    return HeldRow(job, shown, release, job.ready_at, text, why_not)
