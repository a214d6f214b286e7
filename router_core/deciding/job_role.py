"""The role whose checks and remedies apply to a job."""

from __future__ import annotations

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.jobs.job import CompletionJob


def get_role(job: CompletionJob, catalog: Catalog) -> Role | None:
    """Its own role, else its task. None: it has neither."""
    if job.role is not None and job.role in catalog.roles:
        return catalog.roles[job.role]
    return None if job.task is None else catalog.tasks.get(job.task)
