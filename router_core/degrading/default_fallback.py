"""Which model outside its chain may answer a job that nothing of its chain can serve."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from openfall.router_core.catalog.entries import Billing, Catalog
from openfall.router_core.catalog.index import model_index
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.degrading.policy import HoldReason
from openfall.router_core.routing.requirements import incompatibility, requirements_for


def default_fallbacks(chain: ChainState, reason: HoldReason, passed: Collection[str], now: float) -> Iterator[str]:
    """The models that may stand in for a chain now, the first choice first; none of `passed`, which did so before.

    Those of the policy, in its order; without any, each whose calls cost nothing, by its quality for the job's task. It
    must be outside the chain, allowed, able to serve what the prompt needs, and take calls. For a job whose budget is
    spent its calls cost nothing in any case.
    """
    job, catalog = chain.job, chain.catalog
    needs, named = requirements_for(job.body, job.dialect), catalog.open_fall.default_fallbacks
    free = not named or reason is HoldReason.BUDGET
    for alias in named or _by_quality(catalog, job.task or ""):
        if alias in job.chain or alias in passed or chain.forbidden(alias) or chain.blocked(alias, now):
            continue
        spec = catalog.models[alias]
        if incompatibility(spec, needs) is None and not (free and catalog.billing(spec.backends[0]) is Billing.METERED):
            yield alias


def _by_quality(catalog: Catalog, task: str) -> list[str]:
    """Every model, the best for a task first, by the order of the catalog among equals."""
    members = model_index(catalog)
    return sorted(members, key=lambda alias: -members[alias].spec.quality.get(task, members[alias].quality))
