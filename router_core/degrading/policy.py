"""Open Fall in words: why a job is held, what is done for its caller meanwhile, and the policy that orders it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from openfall.router_core.catalog.formats import CatalogEntry, Count, ModelName, Seconds
from openfall.router_core.jobs.job import Urgency

LONGEST_REPLY = 4096
"""Characters of a canned reply: it is kept with every held job, and told to every caller."""
CannedReply = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_REPLY)]


class HoldReason(StrEnum):
    """Why a job fell, and is parked in `degrade` if it is held."""

    OUTAGE = "outage"  # no model of its chain can be asked, by no fault of its own
    LOCAL_ONLY = "local_only"  # nothing but a rule on staying local keeps it from being answered
    PAUSED = "paused"  # nothing but paused queues keeps it from being answered
    BUDGET = "budget"  # what may be spent on it is spent
    OWN_FAULT = "own_fault"  # its models can be asked, and none of them gives an answer that it takes
    POISONED = "poisoned"  # it kills whoever carries it out
    UNREADABLE = "unreadable"  # written by a newer openfall than the worker's


RELEASED_BY_ITSELF = frozenset({HoldReason.OUTAGE, HoldReason.LOCAL_ONLY, HoldReason.PAUSED, HoldReason.BUDGET})
"""What ends without anybody looking at the job. The others wait for a person: `openfall degrade replay`."""


class Remedy(StrEnum):
    """What is done for the caller of a job that fell. The first of a list that can be had is taken."""

    DEFAULT_FALLBACK = "default_fallback"  # a model outside its chain answers
    LAST_ANSWER = "last_answer"  # the last good answer to the same request
    CANNED_REPLY = "canned_reply"  # a text from the configuration
    HOLD = "hold"  # the job waits for its own models; whatever was replied before is replied meanwhile
    FAIL = "fail"  # the job ends, failed


ENDS = frozenset({Remedy.CANNED_REPLY, Remedy.HOLD, Remedy.FAIL})
"""What can always be had: one of them ends every list."""

KEPT_REPLY = "No model can answer at the moment. Your request is kept, and will be answered as soon as one can."
"""What a canned reply says, unless configured, where the job is held."""
LAST_REPLY = "No model can answer at the moment. Please ask again later."
"""And where it ends the job."""

Remedies = tuple[Remedy, ...]
FOR_ALL: Remedies = (Remedy.HOLD,)


def validate_remedies(remedies: Sequence[Remedy]) -> str | None:
    """What is wrong with a list of remedies, for people; None: nothing.

    It tries what may be had (`default_fallback`, `last_answer`), and ends in what can always be had. A `canned_reply`
    may be followed by `hold`: then it is what the caller gets meanwhile.
    """
    ends = ", ".join(remedy for remedy in Remedy if remedy in ENDS)
    if not remedies or remedies[-1] not in ENDS:
        return f"it must end in one of {ends}: the others cannot always be had"
    for place, remedy in enumerate(remedies):
        if remedy in remedies[:place]:
            return f"{remedy} stands in it twice"
        behind = tuple(remedies[place + 1 :])
        if remedy in ENDS and behind and (remedy, behind) != (Remedy.CANNED_REPLY, (Remedy.HOLD,)):
            return f"{behind[0]} never gets its turn: {remedy} comes first, and can always be had"
    return None


class OpenFallPolicy(CatalogEntry):
    """What happens when nothing can serve a job. A role's own list of remedies wins over that of the urgency.

    `canned_reply` None: `KEPT_REPLY` or `LAST_REPLY`. Held jobs come back to a recovered model slowly:
    `release_initial` at once, one more for each answer, at most `release_max` (None: the slots of its backends).
    """

    remedies: Mapping[Urgency, Remedies] = {
        Urgency.INTERACTIVE: (Remedy.CANNED_REPLY, Remedy.HOLD),
        Urgency.BACKGROUND: FOR_ALL,
        Urgency.BATCH: FOR_ALL,
    }
    default_fallbacks: tuple[ModelName, ...] = Field(
        default=(),
        description="The models that `default_fallback` may call, in order. "
        "Without it: every model whose calls cost nothing.",
    )
    canned_reply: CannedReply | None = Field(
        default=None,
        description="The text of `canned_reply`. Without it: a text that says that no model can answer now, "
        "and whether the request is kept.",
    )
    last_answer_ttl: Seconds = Field(default=86400.0, description="How long `last_answer` remembers an answer.")
    hold_for: Seconds = Field(
        default=7 * 86400.0, description="Maximum time that a job is held if its caller set no deadline."
    )
    release_initial: Count = 1
    release_max: Count | None = None
