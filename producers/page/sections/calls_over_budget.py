"""The calls that do not fit into a budget, as the held jobs have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import HoldReason

_OVER_BUDGET = re.compile(r"([^\s(]+): budget (\S+): [^;]*?\bcall may cost (\$[\d.]*\d)")
"""The text of `OverBudget.detail` behind the name of a model."""


@dataclass(frozen=True, slots=True)
class CallOverBudget:
    """A call of `model` may cost `usd`, more than the budget has left. `budget`: its name, and `:OWNER` where it is one
    for each."""

    model: str
    budget: str
    usd: str


def calls_over_budget(job: HeldJob) -> Iterator[CallOverBudget]:
    """The calls for which a job is held. A job that is held now fits into none of these budgets now."""
    if job.reason is HoldReason.BUDGET:
        yield from (CallOverBudget(*match.groups()) for match in _OVER_BUDGET.finditer(job.why))
