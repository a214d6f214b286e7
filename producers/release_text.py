"""What releases a held job, in words."""

from __future__ import annotations

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


def describe_release(job: HeldJob, now: float, catalog: Catalog) -> str:
    """What releases a held job."""
    from openfall.router_core.vocabulary import RELEASED_BY_ITSELF

    until = f"; expires {format_time(job.deadline)}"
    if job.reason not in RELEASED_BY_ITSELF:
        return f"openfall held replay {job.id} once the cause is fixed{until}"
    later = f", not before {format_age(job.ready_at - now)} from now" if job.ready_at > now else ""
    if models := configured_models(job.release_models, catalog):
        return f"by itself, when {join_names(models)} accepts calls again{later}{until}"
    gone = f"{join_names(job.release_models)} is" if job.release_models else "a model of its chain is"
    return f"openfall held replay {job.id}, when {gone} in the configuration again and available{until}"
