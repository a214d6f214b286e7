"""The sections of a catalog, as they are read from a file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.budgets import Budget, SpendPolicy
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.field_types import CatalogEntry, Name, RoleOrTaskName
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.catalog.pools import POOL_DEFAULTS, Pool
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS, UrgencyPolicy
from openfall.router_core.vocabulary import Urgency


class UncheckedCatalog(CatalogEntry):
    """The sections of a catalog, which may contradict each other."""

    pools: Mapping[Name, Pool] = Field(
        POOL_DEFAULTS,
        description="Which workers serve a backend. Without it: `gpu`, which is local, and `cloud`, which is not.",
    )
    backends: Mapping[Name, Backend] = Field({}, description="Where models run.")
    models: Mapping[Name, ModelSpec] = Field({}, description="Models under names of your own.")
    roles: Mapping[Name, Role] = Field({}, description="What callers ask for by name.")
    tasks: Mapping[Name, TaskType] = Field(
        {}, description="Kinds of prompt: a caller names one, or its words classify it."
    )
    groups: tuple[Group, ...] = Field(
        (), description="Groups of callers. The first group whose pattern matches applies."
    )
    budgets: tuple[Budget, ...] = Field(
        (), description="How much calls that are paid by the token may cost. All that count a call apply together."
    )
    spend: SpendPolicy = Field(SpendPolicy(), description="Notices about money.")
    default: RoleOrTaskName | None = Field(
        None,
        description="The role or task of a job for which neither its caller nor its group nor the words of its prompt "
        "choose the models. Without it: role `chat`, else the cheapest role, task or model.",
    )
    urgency: Mapping[Urgency, UrgencyPolicy] = Field(
        URGENCY_DEFAULTS, description="How soon an answer should start, and how long it is wanted."
    )
    breakers: BreakerPolicy = Field(
        BreakerPolicy(), description="When a failing model is no longer called, and how it comes back."
    )
    retry: RetryPolicy = Field(RetryPolicy(), description="How the same model is called again.")
    open_fall: OpenFallPolicy = Field(OpenFallPolicy(), description="What happens when nothing can serve a job.")
    local_only: bool = False
    """Nothing leaves the local pools, whatever the fleet's own switch says."""
