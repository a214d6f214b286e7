"""What a failure of each class means for the breaker of its model, its key, another try and another model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass, Fallback, Severity


@dataclass(frozen=True, slots=True)
class Disposition:
    """The meaning of a failure of one class. `fallback` is the kind of fallback that it causes; None: none."""

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
    ErrorClass.BAD_REQUEST:      Disposition(_F,       _OK,    _FINE,      False, _AWAY),
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
    ErrorClass.FORBIDDEN:        Disposition(_F,       _BAD,   _FINE,      False, _AWAY),
    ErrorClass.MALFORMED:        Disposition(_D,       _BAD,   _FINE,      True,  _AWAY),
    ErrorClass.NOT_INSTALLED:    Disposition(_F,       _TRIP,  _FINE,      False, _AWAY),
    ErrorClass.INVALID_OUTPUT:   Disposition(_D,       _OK,    _FINE,      True,  _OUT),
    ErrorClass.NO_WORKER:        Disposition(_T,       _OK,    _FINE,      True,  _AWAY),
    ErrorClass.NO_VRAM:          Disposition(_F,       _TRIP,  _FINE,      False, _AWAY),
    ErrorClass.WORKER_LIMIT:     Disposition(_T,       _OK,    _FINE,      True,  _AWAY),
    ErrorClass.CRASHED:          Disposition(_D,       _OK,    _FINE,      False, None),
    ErrorClass.OTHER:            Disposition(_D,       _BAD,   _FINE,      True,  _AWAY),
})  # fmt: skip
