"""What a call reports to its breakers, and their names. The transitions are a script in `state`."""

from __future__ import annotations

from openfall.router_core.jobs.outcome import DISPOSITIONS
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass

COOLDOWN = 5.0
"""Seconds for which everybody waits after a 429 that does not say for how long."""
LONGEST_COOLDOWN = 3600.0


def call_signal(error: ErrorClass | None, took: float, slow_after: float | None) -> CallSignal:
    """What the breaker of the model hears; `error` None: it answered, after `took` seconds.

    A refused answer (`invalid_output`) is no fault of the endpoint.
    """
    if error is not None:
        return DISPOSITIONS[error].breaker
    return CallSignal.SLOW if slow_after is not None and took > slow_after else CallSignal.OK


def credential_signal(error: ErrorClass | None) -> CredentialSignal:
    """What the key hears that the call was made with."""
    return CredentialSignal.FINE if error is None else DISPOSITIONS[error].credential


def cooldown(error: ErrorClass | None, retry_after: float | None) -> float:
    """Seconds for which everybody should leave the model alone after this; 0: there is no need."""
    if credential_signal(error) is not CredentialSignal.COOLDOWN:
        return 0.0
    return min(LONGEST_COOLDOWN, COOLDOWN if retry_after is None else retry_after)


def breaker_signal(error: ErrorClass | None, seconds: float, slow_after: float | None, credential: str) -> CallSignal:
    """The signal for the model's breaker after a call with this credential.

    A refused key parks its credential. Without a credential (`""`) the model's breaker opens instead.
    """
    if not credential and credential_signal(error) is CredentialSignal.PARK:
        return CallSignal.TRIP
    return call_signal(error, seconds, slow_after)


def breaker_target(backend: str, model: str) -> str:
    """The name of the breaker of a model at a backend."""
    return f"{backend}/{model}"


def credential_target(credential: str) -> str:
    """The name of the breaker of a key: it opens for whatever is called with that key."""
    return f"key:{credential}"
