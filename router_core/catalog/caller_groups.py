"""Groups of callers: what their jobs use, and what limits them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.field_types import CatalogEntry, Format, ModelName, Name, RoleName, TaskName
from openfall.router_core.catalog.prices import Usd
from openfall.router_core.vocabulary import Urgency


class Group(CatalogEntry):
    """A group of callers. The first group with a matching pattern applies.

    It names a role, a task or a chain, or none of them: then it only limits.
    """

    name: Annotated[Name, Format.NAME] = Field(description="Its name in the ledger and the log.")
    match: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Shell patterns for the group that a caller names: `whatsapp:*`."
    )
    role: RoleName | None = Field(None, description="The role of its jobs.")
    task: TaskName | None = Field(None, description="Or the task.")
    chain: tuple[ModelName, ...] | None = Field(
        None, description="Or the models. With none of the three the group only limits."
    )
    urgency: Urgency | None = Field(None, description="The highest urgency of its jobs.")
    local_only: bool = Field(False, description="Its jobs never leave the local pools.")
    daily_usd: Usd | None = Field(
        None, description="US dollars a day (UTC) for calls of its jobs: short for an entry of `budgets`."
    )
    bound: bool = Field(
        False,
        description="Its jobs use its own models and no others, whatever a caller names: a job that names another is "
        "refused. A default fallback is one of them too.",
    )
