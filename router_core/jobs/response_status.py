"""How a Response of OpenAI's ends, by the result of its job. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from openfall.router_core.jobs.result import Result, Status

_ENDS: Mapping[Status, str] = {
    Status.ANSWERED: "completed",
    Status.DEGRADED: "completed",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "cancelled",
}


def response_id(job_id: str) -> str:
    return f"resp_{job_id}"


def response_status(result: Result) -> str:
    """The status of the Response of a job that has ended: completed, incomplete, failed or cancelled."""
    is_cut = result.answered and (result.body or {}).get("status") == "incomplete"
    return "incomplete" if is_cut else _ENDS[result.status]
