"""By when the caller of a job needs a reply, and the time that a call leaves to its successors."""

from __future__ import annotations

from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.deciding.remedies import allowed_remedies
from openfall.router_core.vocabulary import (
    Remedy,
    Urgency,
)

RESERVE_SECONDS = 2.0
"""The time that a call leaves to each of its successors; a sixth of the whole time, if that is shorter."""


def reply_by(chain: ChainState) -> float | None:
    """The moment by which the caller needs a reply: `reply_within` after the last progress, and no later than
    its deadline. None: there is none."""
    within = chain.policy.reply_within
    if within is None or chain.replied:
        return None
    progressed_at = max([chain.job.accepted_at, *(attempt.progressed_at for attempt in chain.attempts)])
    return min(progressed_at + within, chain.job.deadline)


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
