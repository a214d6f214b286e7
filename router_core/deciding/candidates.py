"""Which models of a job's chain may still answer it, from which moment, and what blocks the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from openfall.router_core.catalog.budget_scope import is_counted
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.urgency_policy import Cloud, UrgencyPolicy
from openfall.router_core.deciding.retry_backoff import longest_delay
from openfall.router_core.deciding.retry_rules import is_exhausted, retry_wait
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.over_budget import OverBudget, OverCause
from openfall.router_core.routing.bound_group import bound_models
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState
from openfall.router_core.routing.local_only import local_only_rule
from openfall.router_core.vocabulary import (
    BlockReason,
    ErrorClass,
    Urgency,
)

MIN_RESERVED_WAIT, MAX_RESERVED_WAIT = 1.0, 15.0
"""Seconds after which a call is tried again that does not fit because calls in flight have reserved the rest."""

OWN_FAULTS = frozenset({
    ErrorClass.BAD_REQUEST, ErrorClass.UNSUPPORTED, ErrorClass.CONTEXT_OVERFLOW, ErrorClass.CONTENT_FILTER,
})  # fmt: skip
"""Failures that no outage causes and no wait cures: a job with only these fails, it does not fall."""

REFUSALS = OWN_FAULTS | {ErrorClass.INVALID_OUTPUT}
"""Failures of a model that takes calls: its next answer to the same job would hardly be better."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may still answer. `due` is the moment of its next call (0: any time, `FOREVER`: unknown).

    `tries` counts its calls for this job. `blocked` is what blocks it now.
    """

    model: str
    due: float
    tries: int
    blocked: Blocked | None


@dataclass(frozen=True, slots=True)
class ChainState:
    """The chain of one job at one moment: facts, no decisions. `replied`, `default_fallback`: see `Conditions`."""

    job: CompletionJob
    catalog: Catalog
    attempts: Sequence[Attempt]
    fleet: FleetState
    jitter: float
    default_fallback: bool = False
    """The chain is one default fallback."""
    replied: bool = False
    over: OverBudget | None = None
    """The budget that its next call does not fit into."""

    def candidates(self, now: float) -> tuple[Candidate, ...]:
        """The models that may still answer, in the order of the chain."""
        must_stay_local, bounds = self._local_only_rule is not None, bound_models(self.catalog, self.job.group)
        remaining: list[tuple[str, bool, list[Attempt]]] = []
        for alias in self.job.chain:
            if alias not in self.catalog.models or (bounds is not None and alias not in bounds):
                continue
            local = self.catalog.is_local(alias)
            attempts = self.attempts_of(alias)
            if (local or not must_stay_local) and not self._is_exhausted(attempts):
                remaining.append((alias, local, attempts))
        cloud_from = self._cloud_from if any(local for _, local, _ in remaining) else 0.0
        return tuple(
            self._candidate(alias, attempts, 0.0 if local else cloud_from, now) for alias, local, attempts in remaining
        )

    def candidate(self, alias: str, now: float) -> Candidate | None:
        """One model as `candidates` lists it; None: it may not answer. Reads the other models only if it must."""
        if alias not in self.catalog.models or alias not in self.job.chain or self._is_out_of_bounds(alias):
            return None
        local = self.catalog.is_local(alias)
        if not local and self._allow_cloud is Cloud.WHEN_LATE:  # its moment depends on the other candidates
            return next((candidate for candidate in self.candidates(now) if candidate.model == alias), None)
        attempts = self.attempts_of(alias)
        if self._is_exhausted(attempts) or not (local or self._local_only_rule is None):
            return None
        return self._candidate(alias, attempts, 0.0, now)

    @property
    def last_failure(self) -> Attempt | None:
        """The last attempt, if it failed."""
        last = self.attempts[-1] if self.attempts else None
        return None if last is None or last.error is None else last

    def attempts_of(self, alias: str) -> list[Attempt]:
        """The attempts in which a model had to answer."""
        return [attempt for attempt in self.attempts if attempt.model == alias and not attempt.is_judging]

    def refused(self, alias: str) -> bool:
        """Whether the last call of a model met a fault of the job, or gave an answer that failed its checks."""
        attempts = self.attempts_of(alias)
        return bool(attempts) and attempts[-1].error in REFUSALS

    def forbidden(self, alias: str) -> str | None:
        """Why this job may never call a model, in words for people; None: it may."""
        if alias not in self.catalog.models:
            return "not in the catalog any more"
        if self._is_out_of_bounds(alias):
            return f"not a model of group {self.job.group}, which is bound to its models"
        return None if self.catalog.is_local(alias) else self._local_only_rule

    def blocked(self, alias: str, now: float) -> Blocked | None:
        """What blocks all calls to a model at the moment."""
        blocked = self.fleet.model(alias).blocked
        if blocked is not None and blocked.until > now:
            return blocked
        if self.over is None or not is_counted(self.catalog, self.over.name, alias):
            return None
        until = self.over.until
        if self.over.cause is OverCause.RESERVED:  # longer, the longer it has waited
            until = now + min(MAX_RESERVED_WAIT, max(MIN_RESERVED_WAIT, (now - self.job.accepted_at) / 4))
        return Blocked(BlockReason.BUDGET, max(until, now + MIN_RESERVED_WAIT), self.over.detail)

    def only_local_forbids(self, now: float) -> bool:
        """Whether only local-only rules keep the job from the models of its chain."""
        existing = [alias for alias in self.job.chain if alias in self.catalog.models]
        must_stay_local = self._local_only_rule is not None
        return bool(existing) and all(
            (must_stay_local and not self.catalog.is_local(alias)) or self._is_blocked_by_switch(alias, now)
            for alias in existing
        )

    def kept_for_late(self, models: Sequence[str], now: float) -> tuple[str, ...]:
        """Which of these models the job may not call before it is late, because another of them is local."""
        if now >= self._cloud_from or not any(map(self.catalog.is_local, models)):
            return ()
        return tuple(alias for alias in models if not self.catalog.is_local(alias))

    @property
    def start_by(self) -> float:
        """The moment from which the job is late."""
        return self.job.accepted_at + self.policy.start_within

    @property
    def policy(self) -> UrgencyPolicy:
        return self.catalog.urgency[self.job.urgency]

    def wait_in_outage(self, of: Urgency) -> float:
        """Seconds for which the job waits for a model that is away: its `start_within`, or that of this urgency if that
        is shorter. An outage is known long before the answer is due, and its caller should learn of it."""
        return min(self.policy.start_within, self.catalog.urgency.get(of, self.policy).start_within)

    @property
    def _local_only_rule(self) -> str | None:
        return local_only_rule(self.catalog, self.fleet, self.job)

    def _is_out_of_bounds(self, alias: str) -> bool:
        bounds = bound_models(self.catalog, self.job.group)
        return bounds is not None and alias not in bounds

    @property
    def _allow_cloud(self) -> Cloud:
        return self.policy.allow_cloud

    @property
    def _cloud_from(self) -> float:
        """The moment from which the job may leave the local pools while a local candidate remains."""
        return self.start_by if self._allow_cloud is Cloud.WHEN_LATE else 0.0

    def _is_blocked_by_switch(self, alias: str, now: float) -> bool:
        blocked = self.blocked(alias, now)
        return blocked is not None and blocked.reason is BlockReason.LOCAL_ONLY

    def _is_exhausted(self, attempts: Sequence[Attempt]) -> bool:
        return is_exhausted(self.catalog, attempts, default_fallback=self.default_fallback)

    def _candidate(self, alias: str, attempts: Sequence[Attempt], earliest: float, now: float) -> Candidate:
        """A candidate that is due at `earliest`, after its back-off, and after the end of a block."""
        due = earliest
        if attempts:
            due = max(due, attempts[-1].ended_at + retry_wait(self.catalog, attempts, self.jitter))
        blocked = self.blocked(alias, now)
        if blocked is not None:
            due = max(due, blocked.until)
        return Candidate(alias, due, len(attempts), blocked)


def postpone(chain: ChainState, candidate: Candidate, now: float) -> Candidate:
    """A candidate while the retry budget is spent: a repeated call of it waits for the longest back-off."""
    if not candidate.tries:
        return candidate
    return replace(candidate, due=max(candidate.due, now + longest_delay(chain.jitter, chain.catalog.retry)))


def first_due(candidates: Sequence[Candidate], current_model: str) -> Candidate | None:
    """The candidate that is due first; among equals the current model, then the order of the chain. None: none is."""
    first = min(candidates, key=lambda candidate: (candidate.due, candidate.model != current_model), default=None)
    return first if first is not None and first.due < FOREVER else None


def ready(candidates: Sequence[Candidate], now: float) -> list[Candidate]:
    """The candidates that are due now: those with the fewest tries first, by the order of the chain among equals."""
    return sorted(
        (candidate for candidate in candidates if candidate.due <= now), key=lambda candidate: candidate.tries
    )
