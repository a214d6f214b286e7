"""The terms of a job for limits and budgets: the estimated tokens of its call, and an upper bound of its use."""

from __future__ import annotations

from dataclasses import replace

from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.cost_bound import cost_bound
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_body import max_tokens
from openfall.router_core.state.jobs import SubmitTerms


def add_limit_terms(terms: SubmitTerms, job: CompletionJob, catalog: Catalog, tokens: int) -> SubmitTerms:
    """The terms with what limits and budgets count of the job, where there are any."""
    if any(backend.tokens_per_minute is not None for backend in catalog.backends.values()):
        terms = replace(terms, prompt_tokens=tokens, answer_tokens=max_tokens(job.body, job.dialect))
    return replace(terms, bound=cost_bound(job, catalog)) if all_budgets(catalog) else terms
