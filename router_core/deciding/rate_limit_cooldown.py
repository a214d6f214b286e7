"""How long the whole fleet leaves a model alone after a 429 (too many requests)."""

from __future__ import annotations

from openfall.router_core.deciding.call_signals import credential_signal
from openfall.router_core.vocabulary import CredentialSignal, ErrorClass

COOLDOWN_SECONDS = 5.0
"""The cooldown after a 429 without a duration."""
MAX_COOLDOWN_SECONDS = 3600.0


def cooldown(error: ErrorClass | None, retry_after: float | None) -> float:
    """Seconds during which no worker calls the model; 0: no cooldown."""
    if credential_signal(error) is not CredentialSignal.COOLDOWN:
        return 0.0
    return min(MAX_COOLDOWN_SECONDS, COOLDOWN_SECONDS if retry_after is None else retry_after)
