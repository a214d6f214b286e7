"""Open Fall: the open incidents, and the held jobs with what was tried and what the caller was shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.model_calls import ModelCalls
from openfall.producers.release_text import operator_act, release_condition
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import HoldReason

REMEDIES = {
    "default_fallback": "another model stood in",
    "last_answer": "the last good answer",
    "canned_reply": "a canned reply",
    "nothing": "nothing yet",
    "": "nothing yet",
}


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A held job. `tried`: a text for each call, and whether it was refused. `shown`: what its caller saw.

    `release`: what releases it, or what an operator does about it. `release_at`: a moment of that, which stands behind
    `release_text`; None: none is known."""

    job: HeldJob
    tried: tuple[str, ...]
    shown: str
    release: str
    release_at: float | None = None
    release_text: str = ""


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    paused = frozenset(queue.name for queue in snapshot.status.queues if queue.paused)
    rows = [_row(job, snapshot.fallen.get(job.id, {}), snapshot, paused) for job in snapshot.held_jobs]
    return {
        "incidents": snapshot.incidents,
        "rows": rows,
        "total": snapshot.held.total,
        "falling": snapshot.status.falling,
        "why_not_ready": _why_not_ready(snapshot, paused),
    }


def _why_not_ready(snapshot: PageSnapshot, paused: Collection[str]) -> str:
    """Why none of the shown jobs could be called after a replay; empty: one could, or more are held than are shown."""
    calls, jobs = ModelCalls(snapshot), snapshot.held_jobs
    if len(jobs) < snapshot.held.total or any(map(calls.can_run, jobs)):
        return ""
    conditions = dict.fromkeys(filter(None, (release_condition(job, snapshot.catalog, paused) for job in jobs)))
    return f"None can run: they return when {'; '.join(conditions)}."


def _row(job: HeldJob, fall: Mapping[str, Any], snapshot: PageSnapshot, paused: Collection[str]) -> HeldRow:
    tried = tuple(
        f"{attempt.get('model', '?')} {attempt.get('cause') or attempt.get('error') or 'answered'}"
        for attempt in fall.get("tried", ())
        if isinstance(attempt, Mapping)
    )
    by = str(fall.get("by") or "")
    shown = REMEDIES.get(by, by)
    condition = release_condition(job, snapshot.catalog, paused)
    if not condition:
        return HeldRow(job, tried, shown, f"An operator decides: {operator_act(job)}")
    release = f"Returns by itself when {condition}"
    if job.ready_at <= snapshot.now:
        return HeldRow(job, tried, shown, release)
    return HeldRow(job, tried, shown, release, job.ready_at, "in" if job.reason is HoldReason.BUDGET else "not before")
