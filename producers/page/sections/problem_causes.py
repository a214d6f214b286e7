"""The problems of `openfall status --json` as the page says them: what is wrong, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from openfall.producers.fleet_problems import FleetProblem, ProblemCode, ProblemSeverity
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.release_text import join_names
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.keys import pool_of
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason


def _jobs(problem: FleetProblem) -> str:
    count = problem.count or 0
    return f"{count:,} {'job' if count == 1 else 'jobs'}"


def _waits(problem: FleetProblem) -> str:
    return "waits" if problem.count == 1 else "wait"


def _health_of(problem: FleetProblem) -> FleetHealth:
    return FleetHealth.FAILING if problem.severity is ProblemSeverity.FAILURE else FleetHealth.IMPAIRED


def _no_worker(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    waits = f", and {_jobs(problem)} {_waits(problem)}" if problem.count else ""
    remedy = "openfall up, or openfall work POOL"
    return Cause(text=f"No worker is alive{waits}", health=FleetHealth.FAILING, section="workers", remedy=remedy)


def _not_served(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"No worker serves {problem.subject}, where {_jobs(problem)} {_waits(problem)}"
    remedy = f"openfall work {pool_of(str(problem.subject))}"
    return Cause(text=text, health=_health_of(problem), section="workers", remedy=remedy)


def _no_degrade_worker(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"{_jobs(problem)} without a model {_waits(problem)} for the degrade worker: no caller hears anything"
    return Cause(text=text, health=_health_of(problem), section="workers", remedy="openfall work degrade")


def _suspended(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    return Cause(text="Every worker is suspended", health=_health_of(problem), remedy="rq resume")


def _not_accepting(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    remedy = "give Redis more maxmemory" + (", or drop held jobs" if snapshot.held.total else "")
    return Cause(text=f"New jobs are refused: {problem.detail}", health=_health_of(problem), remedy=remedy)


def _short(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    return Cause(text=f"The worker {problem.subject} {problem.detail}", section="workers")


def _paused(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    text = f"{problem.subject} is paused, and {_jobs(problem)} {_waits(problem)} there"
    entry = next((each for each in snapshot.audit if _pauses(each, str(problem.subject))), None)
    if entry is None:
        return Cause(text=text, section="queues")
    return Cause(text=f"{text}; {entry.actor} paused it", since=entry.at, section="queues")


def _pauses(entry: AuditEntry, queue: str) -> bool:
    return entry.action == "queue.pause" and fnmatchcase(queue, entry.subject)


def _held(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    began = [incident.began_at for incident in snapshot.incidents if incident.reason == problem.subject]
    reason = str(problem.subject).replace("_", " ")
    ends, section = _release(str(problem.subject), snapshot)
    text = f"{_jobs(problem)} held ({reason}); {ends}"
    return Cause(text=text, since=min(began, default=None), section=section)


def _release(reason: str, snapshot: PageSnapshot) -> tuple[str, str]:
    """What releases jobs that are held for a reason, and the section of the page that has the button or the figures."""
    if reason == HoldReason.PAUSED:
        paused = sorted(queue.name for queue in snapshot.status.queues if queue.paused)
        return f"released when {join_names(tuple(paused)) or 'their queue'} is resumed", "queues"
    if reason == HoldReason.LOCAL_ONLY and snapshot.local_only is not None:
        return "released when local only is switched off", "switch"
    if reason == HoldReason.BUDGET:
        return "released when the budget is raised or resets", "cost"
    if reason in RELEASED_BY_ITSELF and snapshot.held.models:
        return f"released by itself when {join_names(snapshot.held.models)} takes calls", "open-fall"
    return "an operator decides", "open-fall"


def _dead_letters(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    count = problem.count or 0
    text = f"{count:,} {'notification' if count == 1 else 'notifications'} failed for good"
    return Cause(text=text, remedy="openfall outbox")


def _other_catalog(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"The worker {problem.subject} reads another configuration than this gateway"
    return Cause(text=text, section="workers", remedy="use one file on every machine")


CAUSES: Mapping[ProblemCode, Callable[[FleetProblem, PageSnapshot], Cause]] = {
    ProblemCode.NO_WORKER: _no_worker,
    ProblemCode.NOT_SERVED: _not_served,
    ProblemCode.WORKER_SHORT: _short,
    ProblemCode.NO_DEGRADE_WORKER: _no_degrade_worker,
    ProblemCode.SUSPENDED: _suspended,
    ProblemCode.NOT_ACCEPTING: _not_accepting,
    ProblemCode.PAUSED: _paused,
    ProblemCode.HELD: _held,
    ProblemCode.DEAD_LETTERS: _dead_letters,
    ProblemCode.OTHER_CATALOG: _other_catalog,
}
