"""The record of a fall: what a log line and an incident are made of. No prompt and no answer is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openfall.router_core.degrading.degrade import (
    DegradeAction,
    Degraded,
    FallContext,
    Hold,
    StandIn,
)
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.routing.fleet_state import (
    BLOCK_ERRORS,
    FleetState,
)
from openfall.router_core.vocabulary import (
    HoldReason,
    Remedy,
)


def fall_record(
    job: CompletionJob, fallen: FallContext, landing: DegradeAction, fleet: FleetState, now: float
) -> dict[str, Any]:
    """A fall as plain JSON values. Moments in epoch seconds, `took_s` in seconds, `cost_usd` None when nobody knows.

    `by` is what was done for the caller; None: nothing, the job only waits. `final`: the job ended. `counts` names
    what one is added to in the incident: its urgency (`u:`), each model of its chain that was tried or is blocked
    (`m:`), each error class that it met or that a block is told as (`c:`), the remedy (`s:`).
    """
    by, (reason, detail) = _by(landing), _why(fallen, landing)
    costs = [attempt.cost_usd for attempt in fallen.attempts]
    return {
        "at": fallen.at,
        "id": job.id,
        "role": job.role,
        "task": job.task,
        "group": job.group,
        "urgency": job.urgency.value,
        "reason": reason.value,
        "detail": detail,
        "chain": list(job.chain),
        "tried": list(_tried(fallen)),
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
        "accepted_at": job.accepted_at,
        "by": None if by is None else by.value,
        "final": isinstance(landing, Degraded),
        "counts": list(dict.fromkeys([f"u:{job.urgency}", *_met(job, fallen, fleet, now), f"s:{by or 'nothing'}"])),
    }


def unread_record(job_id: str, hold: Hold, at: float) -> dict[str, Any]:
    """The fall of a job whose request cannot be read, as `fall_record` has it: most of it is not known."""
    return {
        "at": at,
        "id": job_id,
        "reason": hold.reason.value,
        "detail": hold.detail,
        "by": None,
        "final": False,
        "counts": ["s:nothing"],
    }


def _by(landing: DegradeAction) -> Remedy | None:
    return Remedy.DEFAULT_FALLBACK if isinstance(landing, StandIn) else landing.by


def _why(fallen: FallContext, landing: DegradeAction) -> tuple[HoldReason, str]:
    """The reason and what is told of it, as the landing has it: it may know better than the step that let it fall."""
    if isinstance(landing, Hold):
        return landing.reason, landing.detail
    return landing.reason, landing.why if isinstance(landing, Degraded) else fallen.detail


def _tried(fallen: FallContext) -> Iterator[dict[str, Any]]:
    for one in fallen.attempts:
        took_s = round(one.ended_at - one.started_at, 3)
        error = None if one.error is None else one.error.value
        yield {"model": one.model, "backend": one.backend, "error": error, "took_s": took_s}


def _met(job: CompletionJob, fallen: FallContext, fleet: FleetState, now: float) -> Iterator[str]:
    """The counts of models and causes, in the order of the chain."""
    tried = {attempt.model for attempt in fallen.attempts}
    yield from (f"c:{attempt.error}" for attempt in fallen.attempts if attempt.error is not None)
    for alias in job.chain:
        blocked = fleet.model(alias).blocked
        if blocked is not None and blocked.until > now:
            yield f"m:{alias}"
            yield f"c:{BLOCK_ERRORS[blocked.reason]}"
        elif alias in tried:
            yield f"m:{alias}"
