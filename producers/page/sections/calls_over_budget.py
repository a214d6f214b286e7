"""The calls that do not fit into a budget, as the held jobs have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from openfall.router_core.catalog.budget_scope import is_counted
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.over_budget import OverCause
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import HoldReason


@dataclass(frozen=True, slots=True)
class CallOverBudget:
    """A call of `model` may cost up to `bound` nanodollars, more than the budget has left. `budget`: its name, and
    `:OWNER` where it is one for each."""

    model: str
    budget: str
    bound: int


def calls_over_budget(job: HeldJob, catalog: Catalog) -> Iterator[CallOverBudget]:
    """The calls for which a job is held. A job that is held now fits into none of these budgets now."""
    over = job.over
    if job.reason is not HoldReason.BUDGET or over is None or over.cause is OverCause.UNPRICED:
        return
    for model in job.release_models:
        if model in catalog.models and is_counted(catalog, over.name, model):
            yield CallOverBudget(model, over.budget, over.bound)
