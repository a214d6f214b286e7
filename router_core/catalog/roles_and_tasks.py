"""What a caller names: roles and tasks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.answer_policy import CheckKind, Ensemble
from openfall.router_core.catalog.field_types import CatalogEntry, Format, ModelName, Name
from openfall.router_core.catalog.open_fall_policy import CannedReply, Remedies
from openfall.router_core.catalog.urgency_policy import Order
from openfall.router_core.vocabulary import Urgency

_ORDER = "`as_written`, or ranked for each job `by_urgency`: loaded and quick, or good and cheap."


class Role(CatalogEntry):
    """What a caller names: a chain and its defaults."""

    chain: Annotated[tuple[ModelName, ...], Field(min_length=1)] = Field(
        description="The models that may answer. The first is called first."
    )
    urgency: Urgency | None = Field(None, description="The urgency where the caller gives none.")
    order: Order = Field(Order.AS_WRITTEN, description=_ORDER)
    local_only: bool = Field(False, description="Its jobs never leave the local pools, whatever fails.")
    checks: tuple[CheckKind, ...] = Field(
        (), description="Checks of the answer. If one fails, the next model is called."
    )
    pattern: str | None = Field(
        None, description="A regular expression that must be found in the answer: one more check."
    )
    accept_refusals: bool = Field(
        False,
        description="A refusal is an answer. Without it, it is one only if no other model answers.",
    )
    ensemble: Ensemble | None = Field(None, description="Call several models, and keep the best answer.")
    open_fall: Remedies | None = Field(
        None, description="Remedies when nothing can serve its jobs. Without it: as in `open_fall`."
    )
    canned_reply: CannedReply | None = Field(
        None, description="The text of `canned_reply` for its jobs. Without it: as in `open_fall`."
    )


class TaskType(Role):
    """A kind of prompt: named by the caller, or classified by its `words`."""

    order: Order = Field(Order.BY_URGENCY, description=_ORDER)
    aliases: tuple[Annotated[Name, Format.NAME], ...] = Field(
        (), description="Other names of it for callers. Results and the ledger have its own name."
    )
    words: tuple[str, ...] = Field(
        (),
        description="Words or phrases that classify a prompt as this task, where the caller names none. English words "
        "also match in their other forms (`write`, `writing`). A word of several tasks only helps others to decide.",
    )
