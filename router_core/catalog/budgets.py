"""Budgets: how much calls that are paid by the token may cost in a window of the calendar."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.budget_windows import Period
from openfall.router_core.catalog.field_types import (
    BackendName,
    CatalogEntry,
    Format,
    ModelName,
    Name,
    PositiveShare,
    RoleName,
    Share,
    TaskName,
    Text,
)
from openfall.router_core.catalog.prices import Usd


class Each(StrEnum):
    """Whose calls are counted apart."""

    GROUP = "group"
    PRODUCER = "producer"
    ROLE = "role"


class OverKind(StrEnum):
    """What a job does whose call does not fit into a budget. The first that is possible applies."""

    LOCAL = "local"  # another model of its chain, whose calls cost nothing
    WAIT = "wait"  # it is held until the budget resets
    REFUSE = "refuse"  # it fails


class Budget(CatalogEntry):
    """A limit of what calls may cost. It counts the calls for which each condition holds that it has."""

    name: Annotated[Name, Format.NAME] = Field(description="Its name in messages and `openfall budgets`.")
    usd: Usd = Field(description="US dollars in each window. 0: nothing that costs.")
    per: Period = Field(Period.DAY, description="The window: `day`, `week` (from Monday), `month` or `ever`.")
    timezone: Text = Field("UTC", description="The time zone of its midnight: `Europe/Berlin`.")
    group: Annotated[Name, Format.NAME] | None = Field(None, description="Only calls for this group.")
    role: RoleName | None = Field(None, description="Only calls for this role.")
    task: TaskName | None = Field(None, description="Only calls for this task.")
    model: ModelName | None = Field(None, description="Only calls of this model.")
    backend: BackendName | None = Field(None, description="Only calls at this backend.")
    key_of: BackendName | None = Field(None, description="Only calls with a key of this backend, at any backend.")
    producer: Text | None = Field(None, description="Only calls for this producer.")
    each: Each | None = Field(
        None, description="Every `group`, `producer` or `role` has a budget of its own, of this size."
    )
    reserved_interactive: Share = Field(
        0.0,
        description="The share of it that only interactive jobs may use: a night's batch leaves it for the morning.",
    )
    soft: PositiveShare | None = Field(
        None,
        description="From this share on the notifiers of `open_fall` get a notice, and calls go on. They also get one "
        "when the forecast of the first half of a window is above the limit.",
    )
    then: Annotated[tuple[OverKind, ...], Field(min_length=1)] = Field(
        (OverKind.LOCAL, OverKind.WAIT),
        description="What a job does whose call does not fit: `local` (a model of its chain that costs nothing), "
        "`wait` (held until the budget resets), `refuse`. The first that is possible applies. "
        "With `refuse`, and no `wait` before it, the notifiers of `open_fall` get a notice once a spent budget refuses "
        "a call.",
    )


class SpendPolicy(CatalogEntry):
    """Notices about money."""

    unexpected_usd: Usd = Field(
        0.1,
        description="From this sum of a day (UTC) on, calls that were paid by the token although a local or flat-rate "
        "model stands before theirs in the chain are reported to the notifiers of `open_fall`.",
    )
