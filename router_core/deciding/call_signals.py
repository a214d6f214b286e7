"""What a call reports to its breakers, and their names. The transitions are a script in `state`."""

from __future__ import annotations

from collections.abc import Iterable

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass

INTERNAL_ERROR = 500
"""The HTTP status of a server that failed at a request. 502 to 504 are words about the server itself."""


def call_signal(error: ErrorClass | None, seconds: float, slow_after: float | None) -> CallSignal:
    """The signal for the breaker of the model; `error` None: it answered, after `seconds`.

    A refused answer (`invalid_output`) is no fault of the endpoint.
    """
    if error is not None:
        return DISPOSITIONS[error].breaker
    return CallSignal.SLOW if slow_after is not None and seconds > slow_after else CallSignal.OK


def is_slow(error: ErrorClass | None) -> bool:
    """Whether a failed call counts as slow too: it reached a time limit."""
    return error is ErrorClass.TIMEOUT


def credential_signal(error: ErrorClass | None) -> CredentialSignal:
    """The signal for the key of the call."""
    return CredentialSignal.FINE if error is None else DISPOSITIONS[error].credential


def breaker_signal(error: ErrorClass | None, seconds: float, slow_after: float | None, credential: str) -> CallSignal:
    """The signal for the model's breaker after a call with this credential.

    A refused key parks its credential. Without a credential (`""`) the model's breaker opens instead.
    """
    if not credential and credential_signal(error) is CredentialSignal.PARK:
        return CallSignal.TRIP
    return call_signal(error, seconds, slow_after)


def is_error_of_one_request(attempt: Attempt, earlier: Iterable[Attempt]) -> bool:
    """Whether a job meets an internal error (500) of a model again. Such an error may depend on the request, so it
    counts once for each job: only several different requests show a fault of the model."""
    same = ((each.model, each.backend, each.http_status) for each in earlier)
    return attempt.http_status == INTERNAL_ERROR and (attempt.model, attempt.backend, INTERNAL_ERROR) in same


def breaker_target(backend: str, model: str) -> str:
    """The name of the breaker of a model at a backend."""
    return f"{backend}/{model}"


def credential_target(credential: str) -> str:
    """The name of the breaker of a key: it opens for every call with that key."""
    return f"key:{credential}"
