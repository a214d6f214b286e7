"""Open Fall: the open incidents, and the held jobs with what was tried and what the caller was shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF

REMEDIES = {
    "default_fallback": "another model stood in",
    "last_answer": "the last good answer",
    "canned_reply": "a canned reply",
    "nothing": "nothing yet",
    "": "nothing yet",
}


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A held job. `tried`: a text for each call, and whether it was refused. `shown`: what its caller saw."""

    job: HeldJob
    tried: tuple[str, ...]
    shown: str
    returns_by_itself: bool


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    return {
        "incidents": snapshot.incidents,
        "rows": [_row(job, snapshot.fallen.get(job.id, {}), snapshot) for job in snapshot.held_jobs],
        "total": snapshot.held.total,
        "falling": snapshot.status.falling,
    }


def _row(job: HeldJob, fall: Mapping[str, Any], snapshot: PageSnapshot) -> HeldRow:
    tried = tuple(
        f"{attempt.get('model', '?')} {attempt.get('cause') or attempt.get('error') or 'answered'}"
        for attempt in fall.get("tried", ())
        if isinstance(attempt, Mapping)
    )
    by = str(fall.get("by") or "")
    configured = any(model in snapshot.catalog.models for model in job.release_models)
    return HeldRow(job, tried, REMEDIES.get(by, by), job.reason in RELEASED_BY_ITSELF and configured)
