"""What came of one call, and what each kind of failure means for the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class ErrorClass(StrEnum):
    """The one vocabulary of failure, by whose fault it is."""

    # the caller's
    BAD_REQUEST = "bad_request"
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"
    # a policy's
    BUDGET = "budget"
    LOCAL_ONLY = "local_only"
    PAUSED = "paused"
    # the provider's
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    AUTH = "auth"
    OUT_OF_CREDITS = "out_of_credits"
    MALFORMED = "malformed"
    NOT_INSTALLED = "not_installed"
    INVALID_OUTPUT = "invalid_output"
    # our own
    NO_WORKER = "no_worker"
    NO_VRAM = "no_vram"
    CRASHED = "crashed"
    OTHER = "other"


class Severity(StrEnum):
    """How likely the same call is to succeed a little later."""

    TRANSIENT = "transient"  # likely: try again
    DEGRADED = "degraded"  # perhaps: a limited number of times
    FATAL = "fatal"  # no: not this model


class BreakerMark(StrEnum):
    """What a call tells the breaker of the model it went to."""

    FAILURE = "failure"
    NEUTRAL = "neutral"


class CredentialMark(StrEnum):
    """What a call tells about the key it was made with."""

    FINE = "fine"
    COOLDOWN = "cooldown"  # wait for Retry-After
    PARK = "park"  # do not use it again before its owner has looked


@dataclass(frozen=True, slots=True)
class Disposition:
    """What a failure of one class means."""

    severity: Severity
    breaker: BreakerMark
    credential: CredentialMark
    try_next_model: bool
    try_same_again: bool


_T, _D, _F = Severity.TRANSIENT, Severity.DEGRADED, Severity.FATAL
_BAD, _OK = BreakerMark.FAILURE, BreakerMark.NEUTRAL
_FINE, _COOL, _PARK = CredentialMark.FINE, CredentialMark.COOLDOWN, CredentialMark.PARK

DISPOSITIONS: Mapping[ErrorClass, Disposition] = MappingProxyType({
    #                                         severity breaker credential  next   again
    ErrorClass.BAD_REQUEST:      Disposition(_F,       _OK,    _FINE,      False, False),
    ErrorClass.CONTEXT_OVERFLOW: Disposition(_F,       _OK,    _FINE,      True,  False),
    ErrorClass.CONTENT_FILTER:   Disposition(_F,       _OK,    _FINE,      True,  False),
    ErrorClass.CANCELLED:        Disposition(_F,       _OK,    _FINE,      False, False),
    ErrorClass.BUDGET:           Disposition(_D,       _OK,    _FINE,      True,  True),
    ErrorClass.LOCAL_ONLY:       Disposition(_F,       _OK,    _FINE,      True,  False),
    ErrorClass.PAUSED:           Disposition(_T,       _OK,    _FINE,      True,  True),
    ErrorClass.RATE_LIMITED:     Disposition(_T,       _OK,    _COOL,      True,  True),
    ErrorClass.OVERLOADED:       Disposition(_T,       _BAD,   _FINE,      True,  True),
    ErrorClass.TIMEOUT:          Disposition(_T,       _BAD,   _FINE,      True,  True),
    ErrorClass.CONNECTION:       Disposition(_T,       _BAD,   _FINE,      True,  True),
    ErrorClass.AUTH:             Disposition(_F,       _OK,    _PARK,      True,  False),
    ErrorClass.OUT_OF_CREDITS:   Disposition(_F,       _OK,    _PARK,      True,  False),
    ErrorClass.MALFORMED:        Disposition(_D,       _BAD,   _FINE,      True,  True),
    ErrorClass.NOT_INSTALLED:    Disposition(_F,       _OK,    _FINE,      True,  False),
    ErrorClass.INVALID_OUTPUT:   Disposition(_D,       _OK,    _FINE,      True,  True),
    ErrorClass.NO_WORKER:        Disposition(_T,       _OK,    _FINE,      True,  True),
    ErrorClass.NO_VRAM:          Disposition(_F,       _BAD,   _FINE,      True,  False),
    ErrorClass.CRASHED:          Disposition(_D,       _OK,    _FINE,      False, False),
    ErrorClass.OTHER:            Disposition(_D,       _BAD,   _FINE,      True,  True),
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer. `body` is the provider's whole response in the dialect of the job."""

    text: str
    finish_reason: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No answer, and why. `detail` is for people and carries no secret and no prompt; `retry_after` is in seconds."""

    error_class: ErrorClass
    detail: str = ""
    retry_after: float | None = None

    @property
    def disposition(self) -> Disposition:
        return DISPOSITIONS[self.error_class]


Outcome = Completion | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one model and what came of it: a row of the job's history. Times are epoch seconds, server clock."""

    model: str
    backend: str
    started_at: float
    ended_at: float
    error: ErrorClass | None = None
    """None: it answered."""
    detail: str = ""
    retry_after: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def disposition(self) -> Disposition | None:
        return None if self.error is None else DISPOSITIONS[self.error]

    @property
    def may_be_repeated(self) -> bool:
        return self.disposition is not None and self.disposition.try_same_again
