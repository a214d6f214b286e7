"""Why the breaker of a model or of a key lets no call through, in words."""

from __future__ import annotations

from openfall.router_core.jobs.outcome import cause_in_brackets

FORCED = "forced open"
"""The cause of a breaker that an operator opened, see `breaker_force.lua`."""


def describe_open_breaker(subject: str, why: str, cause: str, *, is_probed: bool) -> str:
    """`its breaker is open after 5 failures in a row (timeout)`, `it is parked after its probe failed (HTTP 401)`.

    `subject`: `its breaker is`, or `... is parked`. `why` and `cause` are those of the breaker. `is_probed`: it is half
    open, or will be within a second; then `why` is no reason.
    """
    is_parked = subject.endswith("parked")
    if is_probed:
        state = "" if is_parked else " half open"
        return f"{subject}{state} until a probe is answered" + (f" ({cause_in_brackets(cause)})" if cause else "")
    if cause == FORCED:
        state = "" if is_parked else " kept open"
        return f"{subject}{state} by an operator" + (f" ({why})" if why else "")
    return subject + ("" if is_parked else " open") + (f" after {why}" if why else "")
