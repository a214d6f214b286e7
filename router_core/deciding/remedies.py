"""The remedies of a job that no model can serve."""

from __future__ import annotations

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.answer_checks import get_role
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.vocabulary import Remedy


def allowed_remedies(job: CompletionJob, catalog: Catalog) -> tuple[Remedy, ...]:
    """The remedies of a job that fell, in order: those of its role, or its task, else of its urgency."""
    role = get_role(job, catalog)
    own = role.open_fall if role is not None else None
    return own if own is not None else catalog.open_fall.remedies[job.urgency]
