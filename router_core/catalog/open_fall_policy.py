"""The policy of Open Fall: the remedies for a job that no model can serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, StringConstraints

from openfall.router_core.catalog.field_types import CatalogEntry, Count, ModelName, Seconds
from openfall.router_core.vocabulary import Remedy, Urgency

MAX_REPLY_CHARS = 4096
"""Of a canned reply: Redis stores it with every held job."""
CannedReply = Annotated[str, StringConstraints(min_length=1, max_length=MAX_REPLY_CHARS)]

ENDS = frozenset({Remedy.CANNED_REPLY, Remedy.HOLD, Remedy.FAIL})
"""The remedies that are always available: one of them ends every list."""

KEPT_REPLY = "No model can answer at the moment. Your request is kept, and will be answered as soon as one can."
"""The text of a canned reply for a held job, unless one is configured."""
KEPT_TO_DEADLINE_REPLY = (
    "No model can answer at the moment. "
    "Your request is kept until its deadline, and will be answered if one can by then."
)
"""The same for a job whose caller set a deadline."""
LAST_REPLY = "No model can answer at the moment. Please ask again later."
"""The text of a canned reply that ends the job, unless one is configured."""

Remedies = tuple[Remedy, ...]


def validate_remedies(remedies: Sequence[Remedy]) -> str | None:
    """What is wrong with a list of remedies, for people; None: nothing.

    It begins with remedies that may be available (`default_fallback`, `last_answer`), and ends in one that always is.
    `hold` may follow a `canned_reply`, which is then the interim reply.
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

    `canned_reply` None: one of the texts above. Held jobs come back to a recovered model slowly:
    `release_initial` at once, one more for each answer, at most `release_max` (None: the slots of its backends).
    """

    remedies: Mapping[Urgency, Remedies] = {
        Urgency.INTERACTIVE: (Remedy.CANNED_REPLY, Remedy.HOLD),
        Urgency.BACKGROUND: (Remedy.HOLD,),
        Urgency.BATCH: (Remedy.HOLD,),
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
