"""Whether an answer was given in place of the first choice, and whether it left home. See docs/decisions.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.ensemble import ensemble_for
from openfall.router_core.jobs.job import CompletionJob


@dataclass(frozen=True, slots=True)
class Substitution:
    """An answer of `model` at `backend`, in place of the first choice of the configuration. `role`: of the job, or the
    task of a job without a role.

    `left_home`: it came from outside the local pools although the configured chain has a local model before it, or it
    was paid by the token although the chain has a local or flat-rate model before it."""

    model: str
    backend: str
    group: str | None
    left_home: bool
    role: str | None = None
    producer: str = ""


def job_substitution(job: CompletionJob, catalog: Catalog, model: str, backend: str) -> Substitution | None:
    """The substitution that an answer of a job is; None: its first choice answered.

    The first choices of an ensemble are as many models as it wants answers.
    """
    plan = ensemble_for(job, catalog)
    choices = plan.answers if plan is not None else 1
    answer = chain_substitution(job.as_configured, choices, catalog, (model, backend), job.group)
    return answer and replace(answer, role=job.role or job.task, producer=job.producer)


def chain_substitution(
    configured: Sequence[str], choices: int, catalog: Catalog, answering: tuple[str, str], group: str | None
) -> Substitution | None:
    """The substitution that an answer of a model at a backend is. `choices` counts the first choices of the configured
    chain. Every model of the chain stands before a model that is not in it."""
    model, backend = answering
    if model in configured[:choices]:
        return None
    before = configured[: configured.index(model)] if model in configured else configured
    return Substitution(model, backend, group, _left_home(before, catalog, model, backend))


def _left_home(before: Sequence[str], catalog: Catalog, model: str, backend: str) -> bool:
    known = [alias for alias in before if alias in catalog.models]
    if model in catalog.models and not catalog.is_local(model) and any(map(catalog.is_local, known)):
        return True
    is_metered = backend in catalog.backends and catalog.is_metered(backend)
    return is_metered and any(not _is_metered(catalog, alias) for alias in known)


def _is_metered(catalog: Catalog, alias: str) -> bool:
    """Whether every call of a model is paid by the token."""
    return all(catalog.is_metered(name) for name in catalog.models[alias].backends)
