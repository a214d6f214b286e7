"""Which models of a job's chain may still answer it, from which moment, and what stands in the way of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openfall.router_core.catalog.entries import Catalog
from openfall.router_core.catalog.policies import Cloud
from openfall.router_core.deciding.backoff import delay
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import (
    Attempt,
)
from openfall.router_core.routing.fleet_state import (
    FOREVER,
    Blocked,
    FleetState,
)
from openfall.router_core.vocabulary import (
    BlockReason,
    Severity,
)

JUDGING = "judging "
"""How the `why` of a judge's attempt begins. It is not asked for an answer of its own, and is not counted as one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may still answer. `due` is the moment from which it may be asked (0: any, `FOREVER`: nobody knows).

    `asked` is how often it was asked for this job. `blocked` is what stands in its way now.
    """

    model: str
    due: float
    asked: int
    blocked: Blocked | None


@dataclass(frozen=True, slots=True)
class ChainState:
    """The chain of one job at one moment: what is asked about it, without what was decided."""

    job: CompletionJob
    catalog: Catalog
    attempts: Sequence[Attempt]
    fleet: FleetState
    jitter: float

    def prospects(self, now: float) -> tuple[Candidate, ...]:
        """The models that may still answer, in the order of the chain."""
        rule, left = self._stays_local, list[tuple[str, bool, list[Attempt]]]()
        for alias in self.job.chain:
            if alias in self.catalog.models and ((local := self.catalog.is_local(alias)) or rule is None):
                tried = self.tried(alias) if self.attempts else []
                if not self._exhausted(tried):
                    left.append((alias, local, tried))
        away_from = self._late_at if any(local for _, local, _ in left) else 0.0
        return tuple(self._prospect(alias, tried, 0.0 if local else away_from, now) for alias, local, tried in left)

    def prospect(self, alias: str, now: float) -> Candidate | None:
        """What `prospects` tells of one model; None: it may not answer. Looks at the others only where it must."""
        if alias not in self.catalog.models or alias not in self.job.chain:
            return None
        local = self.catalog.is_local(alias)
        if not local and self._cloud is Cloud.WHEN_LATE:  # from when on depends on what else is left
            return next((one for one in self.prospects(now) if one.model == alias), None)
        tried = self.tried(alias) if self.attempts else []
        if self._exhausted(tried) or not (local or self._stays_local is None):
            return None
        return self._prospect(alias, tried, 0.0, now)

    @property
    def last_failure(self) -> Attempt | None:
        """The last attempt, when it failed."""
        last = self.attempts[-1] if self.attempts else None
        return None if last is None or last.error is None else last

    def tried(self, alias: str) -> list[Attempt]:
        """The calls in which a model was asked for an answer."""
        return [one for one in self.attempts if one.model == alias and not is_judging(one)]

    def forbidden(self, alias: str) -> str | None:
        """Why a model may not be asked for this job at all, as words for people; None: it may."""
        if alias not in self.catalog.models:
            return "not in the catalog any more"
        return None if self.catalog.is_local(alias) else self._stays_local

    def blocked(self, alias: str, now: float) -> Blocked | None:
        """What keeps everybody from calling a model at the moment."""
        found = self.fleet.model(alias).blocked
        return found if found is not None and found.until > now else None

    def only_local_forbids(self, now: float) -> bool:
        """Whether nothing but rules on staying local keeps the chain's models from being asked."""
        here = [alias for alias in self.job.chain if alias in self.catalog.models]
        return bool(here) and all(self.forbidden(alias) or self._must_stay_local(alias, now) for alias in here)

    @property
    def start_by(self) -> float:
        """The moment from which the job is late."""
        return self.job.accepted_at + self.catalog.urgency[self.job.urgency].start_within

    @property
    def _stays_local(self) -> str | None:
        """What keeps the job in local pools, as it is told of a model outside of them; None: nothing does."""
        if self.job.local_only:
            return "not local, and the job must stay local"
        if self.fleet.local_only:
            return "not local, and the fleet's local-only switch is on"
        if self.catalog.local_only:
            return "not local, and the configuration keeps every job local"
        if self._cloud is Cloud.NO:
            return f"not local, and {self.job.urgency} jobs must stay local"
        return None

    @property
    def _cloud(self) -> Cloud:
        return self.catalog.urgency[self.job.urgency].allow_cloud

    @property
    def _late_at(self) -> float:
        """The moment from which the job may leave the local pools while a local model is left."""
        return self.start_by if self._cloud is Cloud.WHEN_LATE else 0.0

    def _must_stay_local(self, alias: str, now: float) -> bool:
        blocked = self.blocked(alias, now)
        return blocked is not None and blocked.obstacle is BlockReason.LOCAL_ONLY

    def _exhausted(self, tried: Sequence[Attempt]) -> bool:
        return bool(tried) and len(tried) > self._repetitions(tried[-1])

    def _repetitions(self, last: Attempt) -> int:
        """How often a model may be asked again in all, by the severity of its last failure."""
        if last.disposition is None or not last.may_be_repeated:
            return 0
        times = self.catalog.retry.max_retries
        return times if last.disposition.severity is Severity.TRANSIENT else min(1, times)

    def _prospect(self, alias: str, tried: Sequence[Attempt], due: float, now: float) -> Candidate:
        """A candidate that may be asked from `due` at the earliest, if nothing else is in the way."""
        if tried:
            wait = delay(len(tried), self.jitter, self.catalog.retry, tried[-1].retry_after)
            due = max(due, tried[-1].ended_at + wait)
        blocked = self.blocked(alias, now)
        if blocked is not None:
            due = max(due, blocked.until)
        return Candidate(alias, due, len(tried), blocked)


def is_judging(attempt: Attempt) -> bool:
    """Whether a call was made for a verdict on answers, not for an answer."""
    return attempt.why.startswith(JUDGING)


def first_due(prospects: Sequence[Candidate], here: str) -> Candidate | None:
    """The one that may be asked first; among equals `here`, then the order of the chain. None: none ever may."""
    found = min(prospects, key=lambda one: (one.due, one.model != here), default=None)
    return found if found is not None and found.due < FOREVER else None


def ready(prospects: Sequence[Candidate], now: float) -> list[Candidate]:
    """The models that may be asked now: the least asked first, by the order of the chain among equals."""
    return sorted((one for one in prospects if one.due <= now), key=lambda one: one.asked)
