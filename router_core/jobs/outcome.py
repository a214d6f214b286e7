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
    UNSUPPORTED = "unsupported"  # it asks for what this model cannot be asked for, and another perhaps can
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


class CallSignal(StrEnum):
    """What a call tells the breaker of the backend and model it went to."""

    OK = "ok"
    SLOW = "slow"  # it answered, but took longer than the model may
    FAILURE = "failure"
    NEUTRAL = "neutral"
    TRIP = "trip"  # it cannot work before somebody has mended it: open at once


class CredentialSignal(StrEnum):
    """What a call tells about the key it was made with."""

    FINE = "fine"
    COOLDOWN = "cooldown"  # wait for Retry-After
    PARK = "park"  # do not use it again before its owner has looked


class Fallback(StrEnum):
    """Why another model answers than the first."""

    OVERLOAD = "overload"  # it has too much to do, or we asked too often
    UNAVAILABLE = "unavailable"  # it cannot be reached, is not there, or is broken
    CONTEXT = "context"  # the prompt is too long for it
    POLICY = "policy"  # a rule forbids it: a filter, a budget, local only
    OUTPUT = "output"  # it answered, but not what was asked for


@dataclass(frozen=True, slots=True)
class Disposition:
    """What a failure of one class means. `fallback` is the kind of the fallback that it causes; None: none."""

    severity: Severity
    breaker: CallSignal
    credential: CredentialSignal
    try_same_again: bool
    fallback: Fallback | None

    @property
    def try_next_model(self) -> bool:
        return self.fallback is not None


_T, _D, _F = Severity.TRANSIENT, Severity.DEGRADED, Severity.FATAL
_BAD, _OK, _TRIP = CallSignal.FAILURE, CallSignal.NEUTRAL, CallSignal.TRIP
_FINE, _COOL, _PARK = CredentialSignal.FINE, CredentialSignal.COOLDOWN, CredentialSignal.PARK
_LOAD, _AWAY, _LONG, _RULE, _OUT = (
    Fallback.OVERLOAD, Fallback.UNAVAILABLE, Fallback.CONTEXT, Fallback.POLICY, Fallback.OUTPUT
)  # fmt: skip

DISPOSITIONS: Mapping[ErrorClass, Disposition] = MappingProxyType({
    #                                         severity breaker credential again  another model
    ErrorClass.BAD_REQUEST:      Disposition(_F,       _OK,    _FINE,      False, None),
    ErrorClass.CONTEXT_OVERFLOW: Disposition(_F,       _OK,    _FINE,      False, _LONG),
    ErrorClass.CONTENT_FILTER:   Disposition(_F,       _OK,    _FINE,      False, _RULE),
    ErrorClass.UNSUPPORTED:      Disposition(_F,       _OK,    _FINE,      False, _AWAY),
    ErrorClass.CANCELLED:        Disposition(_F,       _OK,    _FINE,      False, None),
    ErrorClass.BUDGET:           Disposition(_D,       _OK,    _FINE,      True,  _RULE),
    ErrorClass.LOCAL_ONLY:       Disposition(_F,       _OK,    _FINE,      False, _RULE),
    ErrorClass.PAUSED:           Disposition(_T,       _OK,    _FINE,      True,  _RULE),
    ErrorClass.RATE_LIMITED:     Disposition(_T,       _OK,    _COOL,      True,  _LOAD),
    ErrorClass.OVERLOADED:       Disposition(_T,       _BAD,   _FINE,      True,  _LOAD),
    ErrorClass.TIMEOUT:          Disposition(_T,       _BAD,   _FINE,      True,  _AWAY),
    ErrorClass.CONNECTION:       Disposition(_T,       _BAD,   _FINE,      True,  _AWAY),
    ErrorClass.AUTH:             Disposition(_F,       _OK,    _PARK,      False, _AWAY),
    ErrorClass.OUT_OF_CREDITS:   Disposition(_F,       _OK,    _PARK,      False, _AWAY),
    ErrorClass.MALFORMED:        Disposition(_D,       _BAD,   _FINE,      True,  _AWAY),
    ErrorClass.NOT_INSTALLED:    Disposition(_F,       _TRIP,  _FINE,      False, _AWAY),
    ErrorClass.INVALID_OUTPUT:   Disposition(_D,       _OK,    _FINE,      True,  _OUT),
    ErrorClass.NO_WORKER:        Disposition(_T,       _OK,    _FINE,      True,  _AWAY),
    ErrorClass.NO_VRAM:          Disposition(_F,       _TRIP,  _FINE,      False, _AWAY),
    ErrorClass.CRASHED:          Disposition(_D,       _OK,    _FINE,      False, None),
    ErrorClass.OTHER:            Disposition(_D,       _BAD,   _FINE,      True,  _AWAY),
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer. `body` is the provider's whole response in the dialect of the job.

    `input_tokens` are all tokens of the prompt; `cache_read_tokens` and `cache_write_tokens` are those of them that
    were read from, or written to, the provider's cache. None: the provider did not say.
    """

    text: str
    finish_reason: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
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
    cost_usd: float | None = None
    """What the call cost. None: nobody knows, which is not 0."""
    why: str = ""
    """Why this model was asked: a few words from `decide`."""

    @property
    def disposition(self) -> Disposition | None:
        return None if self.error is None else DISPOSITIONS[self.error]

    @property
    def may_be_repeated(self) -> bool:
        return self.disposition is not None and self.disposition.try_same_again
