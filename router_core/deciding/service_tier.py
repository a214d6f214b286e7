"""The service tier that a call asks for: `flex` is cheaper, slower, and may have no capacity."""

from __future__ import annotations

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass, JobKind, Urgency

FLEX = "flex"
FLEX_TIMEOUT_SECONDS = 900.0
"""How long a call of this tier may take: as the providers advise."""
_OF_THE_KEY = frozenset({ErrorClass.AUTH, ErrorClass.OUT_OF_CREDITS, ErrorClass.CANCELLED, ErrorClass.WORKER_LIMIT})
"""Failures that have nothing to do with the tier."""


def asked_tier(job: CompletionJob, catalog: Catalog, model: str, attempts: list[Attempt], now: float) -> str:
    """The tier of a call of a model now; empty: the standard one.

    Flex is asked for if the model has it, the job is not interactive, names no tier itself, and its deadline leaves
    time for a call of either tier. It is asked for once: after a refusal the standard tier is called.
    """
    if not catalog.models[model].flex or job.urgency is Urgency.INTERACTIVE or job.kind is not JobKind.COMPLETION:
        return ""
    if "service_tier" in job.body or any(map(is_tier_refusal, attempts)):
        return ""
    return FLEX if job.deadline - now >= 2 * FLEX_TIMEOUT_SECONDS else ""


def is_tier_refusal(attempt: Attempt) -> bool:
    """Whether a call of the tier flex failed in a way that the standard tier may not share."""
    return attempt.service_tier == FLEX and attempt.error is not None and attempt.error not in _OF_THE_KEY


def tier_signals(
    attempt: Attempt, signal: CallSignal, credential: CredentialSignal
) -> tuple[CallSignal, CredentialSignal]:
    """What a call reports to its breakers. A tier without capacity says nothing of the model or of the key."""
    return (CallSignal.NEUTRAL, CredentialSignal.FINE) if is_tier_refusal(attempt) else (signal, credential)
