"""By when the caller of a job needs a reply, and the time that a call leaves to its successors."""

from __future__ import annotations

from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.deciding.remedies import allowed_remedies
from openfall.router_core.vocabulary import Remedy, Urgency

RESERVE_SECONDS = 2.0
"""The time that a call leaves to each of its successors; a sixth of the whole time, if that is shorter."""


def reply_by(chain: ChainState) -> float | None:
    """The moment by which the caller needs a reply: `reply_within` after the last progress, and no later than
    its deadline. None: there is none."""
    within = chain.policy.reply_within
    if within is None or chain.replied:
        return None
    return min(_last_progress(chain) + within, chain.job.deadline)


def _last_progress(chain: ChainState) -> float:
    """When the job was accepted, or a call of it last made progress."""
    return max([chain.job.accepted_at, *(attempt.progressed_at for attempt in chain.attempts)])


def explain_reply_limit(chain: ChainState, now: float) -> str:
    """Why there is no time for a call: how long no answer has begun, and the limit by which the caller needs a
    reply. To stand behind `no answer has begun`."""
    within, started = chain.policy.reply_within, _last_progress(chain)
    event = "acceptance" if started == chain.job.accepted_at else "last progress"
    expires = chain.job.deadline - started
    by_deadline = within is None or expires < within
    need = f"it expires within {expires:.0f} s" if by_deadline else f"its caller needs a reply within {within:g} s"
    name = "" if by_deadline else " (reply_within)"
    return f"in {now - started:.0f} s since its {event}, and {need}{name}: no time is left for a call"


def reply_is_due(chain: ChainState, now: float) -> bool:
    """Whether there is no time for another call before the caller needs a reply: half a reserve is too little."""
    moment, share = reply_by(chain), reserve(chain.policy.reply_within)
    return moment is not None and moment - now < (successors_outside(chain) + 0.5) * share


def successors_outside(chain: ChainState) -> int:
    """How many may have to follow the models of the chain: a default fallback, and the reply of Open Fall. Without a
    caller who waits: none."""
    if chain.job.urgency is not Urgency.INTERACTIVE:
        return 0
    has_fallback = not chain.default_fallback and Remedy.DEFAULT_FALLBACK in allowed_remedies(chain.job, chain.catalog)
    return 1 + has_fallback


def reserve(seconds: float | None) -> float:
    """The seconds that a call leaves to each of its successors, if `seconds` are left for all of them."""
    return min(RESERVE_SECONDS, max(0.0, seconds or 0.0) / 6)
