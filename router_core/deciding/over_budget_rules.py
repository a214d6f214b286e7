"""What a job does whose call does not fit into a budget."""

from __future__ import annotations

from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.budgets import Budget, OverKind
from openfall.router_core.deciding.candidates import Candidate, ChainState
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.jobs.over_budget import OverCause
from openfall.router_core.vocabulary import BlockReason, ErrorClass


def is_over_budget(candidate: Candidate) -> bool:
    """Whether a budget keeps a model from being called."""
    return candidate.blocked is not None and candidate.blocked.reason is BlockReason.BUDGET


def refused_for_budget(chain: ChainState, now: float) -> Failure | None:
    """The failure of a job that a budget refuses. None: it goes on with a model that costs nothing, or it waits.

    The remedies of the budget (`then`) apply in their order. Another model counts while it may still answer, also
    later. A call above the whole limit can wait too: a limit that was lowered may be raised again. No wait lets a call
    of unknown price fit.
    """
    over, is_fallback = chain.over, chain.default_fallback
    if over is None or is_fallback:
        return None
    known = (budget for budget in all_budgets(chain.catalog) if budget.name == over.name)
    then = next((budget.then for budget in known), Budget.model_fields["then"].default)
    has_other = any(not is_over_budget(candidate) for candidate in chain.candidates(now))
    if over.cause is OverCause.RESERVED:
        return None
    can_wait = over.cause is not OverCause.UNPRICED
    for remedy in then:
        if remedy is OverKind.LOCAL and has_other:
            return None
        if remedy is OverKind.WAIT and can_wait:
            return None
        if remedy is OverKind.REFUSE:
            break
    else:
        if can_wait:
            return None
    return Failure(error_class=ErrorClass.BUDGET, detail=over.message)
