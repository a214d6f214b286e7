"""The remedies of a job that no model can serve."""

from __future__ import annotations

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.job_role import get_role
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.vocabulary import JobKind, Remedy


def allowed_remedies(job: CompletionJob, catalog: Catalog) -> tuple[Remedy, ...]:
    """The remedies of a job that fell, in order: those of its role, or its task, else of its urgency."""
    role = get_role(job, catalog)
    own = role.open_fall if role is not None else None
    remedies = own if own is not None else catalog.open_fall.remedies[job.urgency]
    return remedies if job.kind is JobKind.COMPLETION else _without_replies(remedies)


def _without_replies(remedies: tuple[Remedy, ...]) -> tuple[Remedy, ...]:
    """The remedies of a job for embeddings: no text stands for a vector, and no other model gives the same one."""
    return tuple(remedy for remedy in remedies if remedy in (Remedy.HOLD, Remedy.FAIL)) or (Remedy.FAIL,)
