"""What releases a held job, in words."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from openfall.producers.age import format_age, format_time

if TYPE_CHECKING:
    from openfall.router_core.catalog.catalog import Catalog
    from openfall.router_core.state.held_jobs import HeldJob

MAX_NAMES = 3
"""Models that a sentence names; the rest are counted."""


def join_names(models: tuple[str, ...]) -> str:
    """`a`, `a or b`, `a, b, c or 4 more`."""
    rest = len(models) - MAX_NAMES
    names = [*models[:MAX_NAMES], *([f"{rest} more"] if rest > 0 else [])]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1] if names else "")))


def configured_models(models: tuple[str, ...], catalog: Catalog) -> tuple[str, ...]:
    """Those of the models that are still configured. Only their return releases a held job."""
    return tuple(model for model in models if model in catalog.models)


def release_condition(job: HeldJob, catalog: Catalog, paused: Collection[str]) -> str:
    """When a held job returns by itself, to stand behind `when`. Empty: only an operator returns it.

    `paused`: the paused queues."""
    from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason

    models = configured_models(job.release_models, catalog)
    if job.reason not in RELEASED_BY_ITSELF or not models:
        return ""
    match job.reason:
        case HoldReason.BUDGET:
            return "its budget is raised or resets"
        case HoldReason.LOCAL_ONLY:
            return "local only is switched off"
        case HoldReason.PAUSED:
            queues = tuple(queue for model in models if (queue := catalog.queue(model, job.urgency)) in paused)
            return f"{join_names(queues or models)} is resumed"
    return f"{join_names(models)} accepts calls again"


def operator_act(job: HeldJob) -> str:
    """What an operator does about a held job that does not return by itself."""
    from openfall.router_core.vocabulary import HoldReason

    acts = {
        HoldReason.OWN_FAULT: "correct the request or the checks of its role, then replay or drop it",
        HoldReason.POISONED: "read the log of that worker, which ends there, then replay it once or drop it",
        HoldReason.UNREADABLE: "upgrade every worker, then replay it",
    }
    if act := acts.get(job.reason):
        return act
    gone = f"{join_names(job.release_models)} is" if job.release_models else "a model of its chain is"
    return f"replay it when {gone} in the configuration again"


def describe_release(job: HeldJob, now: float, catalog: Catalog, paused: Collection[str]) -> str:
    """What releases a held job. `paused`: the paused queues."""
    until = f"; expires {format_time(job.deadline)}"
    if condition := release_condition(job, catalog, paused):
        later = f", not before {format_age(job.ready_at - now)} from now" if job.ready_at > now else ""
        return f"by itself, when {condition}{later}{until}"
    return f"openfall held replay {job.id}: {operator_act(job)}{until}"
