"""Open Fall in words: why a job is held, what is done for its caller meanwhile, and the policy that orders it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, StringConstraints

from openfall.router_core.catalog.formats import CatalogEntry, Count, ModelName, Seconds
from openfall.router_core.vocabulary import Remedy, Urgency

LONGEST_REPLY = 4096
"""Characters of a canned reply: it is stored with every held job, and sent to every caller."""
CannedReply = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_REPLY)]


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
        return f"it must end in one of {ends}: the others are not always available"
    for place, remedy in enumerate(remedies):
        if remedy in remedies[:place]:
            return f"{remedy} is listed twice"
        behind = tuple(remedies[place + 1 :])
        if remedy in ENDS and behind and (remedy, behind) != (Remedy.CANNED_REPLY, (Remedy.HOLD,)):
            return f"{behind[0]} is never reached: {remedy} comes first, and is always available"
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
        (),
        description="The models that `default_fallback` may call, in order. "
        "Without it: every model whose calls cost nothing.",
    )
    canned_reply: CannedReply | None = Field(
        None,
        description="The text of `canned_reply`. Without it: a text that says that no model can answer now, "
        "and whether the request is kept.",
    )
    last_answer_ttl: Seconds = Field(86400.0, description="How long `last_answer` remembers an answer.")
    hold_for: Seconds = Field(7 * 86400.0, description="Maximum time that a job is held if its caller set no deadline.")
    release_initial: Count = 1
    release_max: Count | None = None
