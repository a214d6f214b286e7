"""Whether the same model may be called again for a job, and after which wait. With another key it is called at once."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.retry_backoff import MIN_SECONDS, delay
from openfall.router_core.deciding.service_tier import is_tier_refusal
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.vocabulary import CredentialSignal, ErrorClass, Severity


def is_exhausted(catalog: Catalog, attempts: Sequence[Attempt], *, default_fallback: bool) -> bool:
    """Whether a model may not be called again for a job, after these calls of it.

    A call that failed for its key alone counts only when no other key remains. One that failed for its service tier
    does not count. `default_fallback`: the model is one; an answer of it that fails its checks is not repeated.
    """
    attempts = [attempt for attempt in attempts if not is_tier_refusal(attempt)]
    if not attempts:
        return False
    last = attempts[-1]
    if has_other_key(catalog, attempts):
        others = [attempt for attempt in attempts if not _is_key_fault(attempt)]
        if not others:
            return False
        last = others[-1]
    if default_fallback and last.error is ErrorClass.INVALID_OUTPUT:
        return True
    tries = len(attempts) - min(_key_faults(attempts), _spare_keys(catalog, attempts))
    return tries > _max_retries(catalog, last)


def has_other_key(catalog: Catalog, attempts: Sequence[Attempt]) -> bool:
    """Whether the last of these calls of one model failed for its key alone, and another key of its backend had no such
    call yet."""
    faults = _key_faults(attempts)
    return bool(attempts) and _is_key_fault(attempts[-1]) and faults <= _spare_keys(catalog, attempts)


def retry_wait(catalog: Catalog, attempts: Sequence[Attempt], jitter: float) -> float:
    """Seconds from the end of the last of these calls to the next call of the model. `jitter` is in [0, 1]."""
    if has_other_key(catalog, attempts):
        return MIN_SECONDS
    return delay(len(attempts), jitter, catalog.retry, attempts[-1].retry_after)


def _is_key_fault(attempt: Attempt) -> bool:
    """Whether the failure of a call is one of its key: refused, or limited."""
    is_fault = attempt.disposition is not None and attempt.disposition.credential is not CredentialSignal.FINE
    return is_fault and not is_tier_refusal(attempt)


def _key_faults(attempts: Sequence[Attempt]) -> int:
    return sum(map(_is_key_fault, attempts))


def _spare_keys(catalog: Catalog, attempts: Sequence[Attempt]) -> int:
    """How many keys the backend of the last call has beside one."""
    spec = catalog.backends.get(attempts[-1].backend)
    return 0 if spec is None else max(0, len(spec.secrets) - 1)


def _max_retries(catalog: Catalog, last: Attempt) -> int:
    """How often a model may be called again in all, by the severity of its last failure."""
    if last.disposition is None or not last.may_be_repeated:
        return 0
    max_retries = catalog.retry.max_retries
    return max_retries if last.disposition.severity is Severity.TRANSIENT else min(1, max_retries)
