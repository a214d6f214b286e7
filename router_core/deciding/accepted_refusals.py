"""Whether the refusal of a model is the answer of a job. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.candidates import OWN_FAULTS
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion, Failure


def accepts_refusals(job: CompletionJob, catalog: Catalog) -> bool:
    """Whether a model that refuses has answered, by the role or the task of the job."""
    terms = (catalog.roles.get(job.role or ""), catalog.tasks.get(job.task or ""))
    return any(term is not None and term.accept_refusals for term in terms)


def last_refusal(attempts: Sequence[Attempt], failure: Failure) -> Completion | None:
    """The refusal that answers a job which would fail: that of the last of models that all refused, or could not take
    the request. None: there is none."""
    return failure.refusal if all(attempt.error in OWN_FAULTS for attempt in attempts) else None
