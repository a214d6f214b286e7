"""The rules that keep a job in the local pools: of a new job, and of one that waits or runs. The first one decides."""

from __future__ import annotations

from collections.abc import Iterator

from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.routing.chain_selection import ChainSelection, RouteRequest
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import Urgency


def stays_local(catalog: Catalog, urgency: Urgency) -> str:
    """Why jobs of an urgency must stay in the local pools; empty: they may leave."""
    return f"{urgency} jobs stay in the local pools" if catalog.urgency[urgency].allow_cloud is Cloud.NO else ""


def local_only_rules(
    catalog: Catalog, fleet: FleetState, request: RouteRequest, choice: ChainSelection, group: Group | None
) -> Iterator[str]:
    """Every rule that makes a new job local-only."""
    if request.local_only:
        yield "the job is local-only"
    if group and group.local_only:
        yield f"group {group.name} is local-only"
    if choice.role and catalog.roles[choice.role].local_only:
        yield f"role {choice.role} is local-only"
    if choice.task and catalog.tasks[choice.task].local_only:
        yield f"task {choice.task} is local-only"
    if catalog.local_only:
        yield "the configuration is local-only"
    if fleet.local_only:
        yield "the fleet is switched to local-only"


def local_only_rule(catalog: Catalog, fleet: FleetState, job: CompletionJob) -> str | None:
    """The rule that keeps a job in local pools, as words about a model outside them; None: no rule does."""
    if job.local_only:
        return "not local, and the job must stay local"
    if fleet.local_only:
        return "not local, and the fleet's local-only switch is on"
    if catalog.local_only:
        return "not local, and the configuration keeps every job local"
    if catalog.urgency[job.urgency].allow_cloud is Cloud.NO:
        return f"not local, and {job.urgency} jobs must stay local"
    return None
