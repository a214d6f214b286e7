"""The one table of errors: from what went wrong to a status, a type and a code in the API of the caller.

A message shows neither prompt nor key. An error of a key of ours at a provider is never a 401 for the caller: his own
key is fine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openfall.producers.errors import BadRequest, ProducerError, PromptTooLarge, StillQueued
from openfall.producers.gateway.surface import Surface
from openfall.producers.shell_command import shell_command
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.caller_leases import CALLER_LEFT, RETURN_SECONDS
from openfall.router_core.state.errors import (
    Backpressure,
    DeadlinePassed,
    IdempotencyConflict,
    MemoryPressure,
    StoreError,
    UnknownJob,
)
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, ErrorClass

MAX_RETRY_AFTER_SECONDS = 60
"""Above this some SDKs give up, and others wait however long it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. `retry`: whether the same request may succeed soon, so that an SDK should repeat it.

    `retry_after`: seconds, for rows that always have the same. `anthropic_status` is for APIs in Anthropic's form,
    where it differs.
    """

    status: int
    type: str
    code: str
    anthropic: str
    retry: bool = False
    retry_after: float | None = None
    anthropic_status: int | None = None


_INVALID = "invalid_request_error"
_SERVER = "server_error"

TABLE: Mapping[str, Row] = {
    "bad_request": Row(400, _INVALID, "bad_request", _INVALID),
    "too_large": Row(413, _INVALID, "request_too_large", "request_too_large"),
    "encoded": Row(415, _INVALID, "unsupported_encoding", _INVALID),
    "body_timeout": Row(408, _INVALID, "body_timeout", _INVALID, retry=True),
    "no_key": Row(401, _INVALID, "invalid_api_key", "authentication_error"),
    "not_allowed": Row(403, _INVALID, "not_allowed", "permission_error"),
    "unknown_model": Row(404, _INVALID, "model_not_found", "not_found_error"),
    "not_found": Row(404, _INVALID, "not_found", "not_found_error"),
    "no_previous_response": Row(400, _INVALID, "previous_response_not_found", _INVALID),
    "unknown_url": Row(404, _INVALID, "unknown_url", "not_found_error"),
    "wrong_method": Row(405, _INVALID, "method_not_allowed", _INVALID),
    "switching": Row(409, _INVALID, "switching", _INVALID, retry=True, retry_after=5),
    "idempotency_conflict": Row(422, _INVALID, "idempotency_conflict", _INVALID),
    "queue_full": Row(429, "rate_limit_error", "queue_full", "rate_limit_error", retry=True),
    "rate_limit": Row(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", retry=True),
    "disk_full": Row(507, _SERVER, "insufficient_storage", "api_error"),
    "elsewhere": Row(503, _SERVER, "file_elsewhere", "api_error"),
    "store": Row(503, _SERVER, "store_unavailable", "overloaded_error", True, 5, 529),
    "busy": Row(503, _SERVER, "busy", "overloaded_error", True, 1, 529),
    "held": Row(503, _SERVER, "held", "overloaded_error", True, 5, 529),
    "still_queued": Row(503, _SERVER, "still_queued", "overloaded_error", True, 1, 529),
    "restarting": Row(503, _SERVER, "restarting", "overloaded_error", True, 1, 529),
    "restarted": Row(503, _SERVER, "restarted", "overloaded_error", True, 1, 529),
    "gateway_stalled": Row(503, _SERVER, "gateway_stalled", "overloaded_error", True, 1, 529),
    "expired": Row(504, _SERVER, "deadline_exceeded", "timeout_error"),
    "cancelled": Row(499, _SERVER, "cancelled", "api_error"),
    "context_overflow": Row(400, _INVALID, "context_length_exceeded", _INVALID),
    "content_filter": Row(400, _INVALID, "content_filter", _INVALID),
    "unsupported": Row(400, _INVALID, "unsupported", _INVALID),
    "budget": Row(402, "insufficient_quota", "budget_exceeded", "billing_error"),
    "local_only": Row(403, _INVALID, "local_only", "permission_error"),
    "paused": Row(503, _SERVER, "paused", "overloaded_error", True, 30, 529),
    "rate_limited": Row(429, "rate_limit_error", "rate_limited", "rate_limit_error", True, 5),
    "overloaded": Row(503, _SERVER, "overloaded", "overloaded_error", True, 5, 529),
    "timeout": Row(504, _SERVER, "timeout", "timeout_error"),
    "connection": Row(502, _SERVER, "connection", "api_error"),
    "malformed": Row(502, _SERVER, "malformed", "api_error"),
    "invalid_output": Row(502, _SERVER, "invalid_output", "api_error"),
    "auth": Row(503, _SERVER, "auth", "api_error"),
    "out_of_credits": Row(503, _SERVER, "out_of_credits", "api_error"),
    "forbidden": Row(503, _SERVER, "forbidden", "api_error"),
    "not_installed": Row(503, _SERVER, "not_installed", "api_error"),
    "no_vram": Row(503, _SERVER, "no_vram", "api_error"),
    "no_worker": Row(503, _SERVER, "no_worker", "overloaded_error", True, 10, 529),
    "worker_limit": Row(503, _SERVER, "worker_limit", "overloaded_error", True, 10, 529),
    "crashed": Row(500, _SERVER, "crashed", "api_error"),
    "other": Row(500, _SERVER, "other", "api_error"),
}

REFUSED_CAUSES = frozenset(cause for cause, row in TABLE.items() if 400 <= row.status < 499)
"""The causes that a caller, the owner of a key or an operator ends: those that are counted by key."""


@dataclass(slots=True)
class Refusal(Exception):
    """A request that gets no answer now. `cause` is a row of the table; `param` names the field of the body."""

    cause: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    job_id: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further headers."""

    @property
    def row(self) -> Row:
        return TABLE[self.cause]

    def status(self, surface: Surface) -> int:
        row = self.row
        return (row.anthropic_status or row.status) if surface is Surface.ANTHROPIC else row.status

    def headers(self) -> dict[str, str]:
        """`x-should-retry` is read by the SDKs of OpenAI and Anthropic, and is what stops them from repeating."""
        row, headers = self.row, dict(self.extra)
        after = self.retry_after if self.retry_after is not None else row.retry_after
        if row.retry and after is not None:
            headers["retry-after"] = str(min(MAX_RETRY_AFTER_SECONDS, max(1, round(after))))
        headers["x-should-retry"] = "true" if row.retry else "false"
        if self.job_id:
            headers["x-openfall-job"] = self.job_id
        return headers

    def body(self, surface: Surface, request_id: str) -> dict[str, Any]:
        """The error in the shape of an API."""
        row, ours = self.row, {"cause": self.cause}
        if self.job_id:
            ours["job"] = self.job_id
        match surface:
            case Surface.ANTHROPIC:
                own = {"type": row.anthropic, "message": self.message}
                return {"type": "error", "error": own, "request_id": request_id, "openfall": ours}
            case Surface.OLLAMA:
                return {"error": self.message}
            case Surface.ECHO:
                return {"success": False, "error": self.message, "code": row.code, **ours}
            case _:
                error = {"message": self.message, "type": row.type, "param": self.param, "code": row.code}
                return {"error": {**error, "openfall": ours}}


_CAUSES: Mapping[type[Exception], str] = {
    PromptTooLarge: "too_large",
    StillQueued: "still_queued",
    ProducerError: "bad_request",
    UnknownName: "bad_request",
    MemoryPressure: "store",
    Backpressure: "queue_full",
    DeadlinePassed: "expired",
    IdempotencyConflict: "idempotency_conflict",
    UnknownJob: "not_found",
    StoreError: "store",
}
"""The row for each exception of the queue: the first that fits counts."""


def refusal_of_error(error: Exception) -> Refusal | None:
    """The refusal for an exception of the queue. None: it is none that a caller can cause, so it is a fault of ours."""
    if isinstance(error, Refusal):
        return error
    cause = next((cause for kind, cause in _CAUSES.items() if isinstance(error, kind)), None)
    if cause is None:
        return None
    if isinstance(error, BadRequest) and error.is_local_only:
        return Refusal("local_only", str(error), "model")
    if isinstance(error, UnknownName) and "model" in error.kind:
        return Refusal("unknown_model", str(error), "model")
    return Refusal(
        cause, str(error), retry_after=getattr(error, "retry_after", None), job_id=getattr(error, "job_id", None)
    )


def refusal_of_result(result: Result) -> Refusal:
    """The refusal for a job that has no answer: it failed, expired, was cancelled, or is held."""
    if not result.final or result.degraded:
        why = result.degraded_why or result.detail or "no model can answer now"
        return Refusal("held", why if result.final else f"{why}. {_explain_hold(result)}", job_id=result.id)
    if result.status is Status.EXPIRED:
        return Refusal("expired", result.detail or "the job's deadline has passed", job_id=result.id)
    if result.status is Status.CANCELLED and result.detail == CALLER_LEFT:  # but here it is
        message = "the gateway stood still, or could not reach Redis, and the job was ended: send the request again"
        return Refusal("gateway_stalled", message, job_id=result.id)
    cause = str(result.error or ErrorClass.OTHER)
    return Refusal(
        cause if cause in TABLE else "other", result.detail or f"no model answered ({cause})", job_id=result.id
    )


def _explain_hold(result: Result) -> str:
    """What becomes of a held job, and what its caller can do."""
    if result.held_for in RELEASED_BY_ITSELF:
        end = "is answered by itself when a model takes calls"
    else:
        end = f"waits for its operator: {shell_command('openfall held show', result.id)}"
    again = f"Send the same request again within {RETURN_SECONDS:.0f} s: it joins this job."
    return f"The job is held, and {end}. {again} `openfall preflight` names what to repair."
