"""The record of a fall, for the log and its incident. It contains no prompt and no answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openfall.router_core.degrading.degrade import DefaultFallback, DegradeAction, Degraded
from openfall.router_core.degrading.hold import Hold
from openfall.router_core.degrading.judged_fall import FallContext
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import total_cost
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import HoldReason, Remedy


def fall_record(
    job: CompletionJob, fall: FallContext, action: DegradeAction, fleet: FleetState, now: float
) -> dict[str, Any]:
    """A fall as plain JSON values. Moments in epoch seconds, `took_s` in seconds, `cost_usd` None: unknown.

    `by` is the remedy for the caller; None: none, the job only waits. `final`: the job ended. `counts` names the
    counters of the incident: its urgency (`u:`), its chain in alphabetical order (`chain:`), each model of it that was
    tried or is blocked (`m:`), each cause of a failed attempt or a block (`c:`, see `describe_cause`), the remedy
    (`s:`). A poisoned job fell for its crashes, whatever is blocked.
    """
    by, (reason, detail) = _by(action), _why(fall, action)
    return {
        "at": fall.at,
        "id": job.id,
        "role": job.role,
        "task": job.task,
        "group": job.group,
        "urgency": job.urgency.value,
        "reason": reason.value,
        "detail": detail,
        "chain": list(job.chain),
        "tried": list(_tried(fall)),
        "cost_usd": total_cost(fall.attempts),
        "accepted_at": job.accepted_at,
        "by": None if by is None else by.value,
        "final": isinstance(action, Degraded),
        "counts": list(dict.fromkeys([*_counted(job, fall, fleet, now), f"s:{by or 'nothing'}"])),
    }


def unread_record(job_id: str, hold: Hold, at: float) -> dict[str, Any]:
    """The fall of a job whose request cannot be read, as a `fall_record`: most of it is unknown."""
    return {
        "at": at,
        "id": job_id,
        "reason": hold.reason.value,
        "detail": hold.detail,
        "by": None,
        "final": False,
        "counts": ["s:nothing"],
    }


def _by(action: DegradeAction) -> Remedy | None:
    return Remedy.DEFAULT_FALLBACK if isinstance(action, DefaultFallback) else action.by


def _why(fall: FallContext, action: DegradeAction) -> tuple[HoldReason, str]:
    """The reason and its detail, from the action: it is newer than the step that let the job fall."""
    if isinstance(action, Hold):
        return action.reason, action.detail
    return action.reason, action.why if isinstance(action, Degraded) else fall.detail


def _tried(fall: FallContext) -> Iterator[dict[str, Any]]:
    for attempt in fall.attempts:
        took_s = round(attempt.ended_at - attempt.started_at, 3)
        error = None if attempt.error is None else attempt.error.value
        failed = {"error": error, "cause": attempt.cause or None}
        yield {"model": attempt.model, "backend": attempt.backend, **failed, "took_s": took_s}


def _counted(job: CompletionJob, fall: FallContext, fleet: FleetState, now: float) -> Iterator[str]:
    """The counts but the remedy: urgency, chain, models and causes."""
    yield from (f"u:{job.urgency}", f"chain:{','.join(sorted(set(job.chain)))}")
    tried = {attempt.model for attempt in fall.attempts}
    yield from (f"c:{attempt.cause}" for attempt in fall.attempts if attempt.cause)
    for alias in job.chain:
        blocked = fleet.model(alias).blocked
        if blocked is not None and blocked.until > now and fall.reason is not HoldReason.POISONED:
            yield f"m:{alias}"
            yield f"c:{blocked.cause_text}"
        elif alias in tried:
            yield f"m:{alias}"
