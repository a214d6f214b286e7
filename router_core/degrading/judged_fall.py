"""How a job fell, judged by its own chain at this moment."""

from __future__ import annotations

from dataclasses import dataclass, replace

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.deciding.decide import explain_fall, get_chain
from openfall.router_core.deciding.reply_deadline import reply_is_due
from openfall.router_core.deciding.steps import Conditions
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt, Completion
from openfall.router_core.jobs.over_budget import OverBudget
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import ErrorClass, HoldReason


@dataclass(frozen=True, slots=True, kw_only=True)
class FallContext:
    """How a job fell. `at` in epoch seconds (server clock); `falls` counts this fall too.

    `attempts` are the attempts since it was accepted, released or replayed. `default_fallback` is the last default
    fallback that was called for it since then. `strikes` counts its earlier falls while a model of its chain took
    calls. `remembered` is the last good answer to the same request, if there is one. `has_deadline`: its caller set
    one. `replied`: its caller has had a reply of Open Fall before. `over`: the budget that its call did not fit into.
    """

    reason: HoldReason
    detail: str
    at: float
    attempts: tuple[Attempt, ...] = ()
    falls: int = 1
    strikes: int = 0
    default_fallback: str | None = None
    remembered: Completion | None = None
    has_deadline: bool = False
    replied: bool = False
    over: OverBudget | None = None


@dataclass(frozen=True, slots=True)
class JudgedFall:
    """A job's own chain at this moment, and its fall, with the reason that holds for that chain."""

    chain: ChainState
    fall: FallContext
    now: float

    @property
    def called_fallbacks(self) -> set[str]:
        """The default fallbacks that were called for it since it was accepted."""
        models = {attempt.model for attempt in self.fall.attempts} | {self.fall.default_fallback}
        return {alias for alias in models if alias is not None and alias not in self.chain.job.chain}

    @property
    def answers_failed_checks(self) -> bool:
        """Whether a model of its chain gave an answer that failed a check."""
        return any(attempt.error is ErrorClass.INVALID_OUTPUT for attempt in self.chain.attempts)

    @property
    def has_time_for_fallback(self) -> bool:
        """Whether a default fallback could answer before the caller needs a reply."""
        return not reply_is_due(replace(self.chain, default_fallback=True), self.now)

    def is_away(self, alias: str) -> bool:
        """Whether this job cannot call a model now."""
        return self.chain.forbidden(alias) is not None or self.chain.blocked(alias, self.now) is not None


def judge_by_own_chain(
    job: CompletionJob, catalog: Catalog, fall: FallContext, fleet: FleetState, now: float
) -> JudgedFall:
    """The fall of a job by the models of its chain. After a default fallback fell, they give the reason again."""
    own = [attempt for attempt in fall.attempts if attempt.model in job.chain]
    chain = get_chain(job, catalog, own, Conditions(job.chain[0], fleet=fleet, replied=fall.replied, over=fall.over))
    if fall.default_fallback is not None and fall.reason is not HoldReason.POISONED:
        own_fall = explain_fall(chain, now)
        fall = replace(fall, reason=own_fall.reason, detail=f"{own_fall.detail}; {fall.detail}")
    return JudgedFall(chain, fall, now)
