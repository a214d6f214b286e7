"""The problems of `openfall status --json` as the page says them: what is wrong, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from openfall.producers.fleet_problems import FleetProblem, ProblemCode, ProblemSeverity
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.held_causes import of_held
from openfall.producers.redis_cli import redis_cli
from openfall.producers.runbook import RunbookSection
from openfall.router_core.state.fleet_status import MemoryRefusals
from openfall.router_core.state.keys import pool_of

MIB = 2**20


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
    text, advice = f"No worker is alive{waits}", "Start one"
    return _of_workers(text, FleetHealth.FAILING, advice, remedy)


def _not_served(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"No worker serves {problem.subject}, where {_jobs(problem)} {_waits(problem)}"
    remedy = f"openfall work {pool_of(str(problem.subject))}"
    return _of_workers(text, _health_of(problem), "Start one", remedy)


def _no_degrade_worker(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"{_jobs(problem)} without a model {_waits(problem)} for the degrade worker: no caller hears anything"
    remedy = "openfall work degrade"
    return _of_workers(text, _health_of(problem), "Start it", remedy)


def _of_workers(text: str, health: FleetHealth, advice: str, remedy: str) -> Cause:
    return Cause(
        text=text, health=health, advice=advice, remedy=remedy, section="workers", runbook=RunbookSection.NO_WORKER
    )


def _suspended(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text, advice = "Every worker is suspended", "End it"
    return Cause(
        text=text, health=_health_of(problem), advice=advice, remedy="rq resume", runbook=RunbookSection.SUSPENDED
    )


def _not_accepting(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    refusals = snapshot.status.memory_refusals
    counted = f"{_counted(refusals.refused)} refused since. " if refusals else ""
    drop = ", or drop held jobs" if snapshot.held.total else ""
    return Cause(
        text=f"New jobs are refused: {problem.detail}",
        health=_health_of(problem),
        since=refusals.since if refusals else None,
        advice=(
            f"{counted}Callers get HTTP 503 and may try again; accepted jobs go on. Raise maxmemory, also in the "
            f"configuration file of Redis{drop}"
        ),
        runbook=RunbookSection.REDIS_MEMORY,
        remedy=f"{redis_cli(snapshot.redis_url)} CONFIG SET maxmemory {_more_memory(refusals)}",
    )


def _counted(refused: int) -> str:
    return f"{refused:,} {'job was' if refused == 1 else 'jobs were'}"


def _more_memory(refusals: MemoryRefusals | None) -> str:
    """Twice the `maxmemory` of now, as redis-cli reads it."""
    return f"{2 * refusals.maxmemory_bytes // MIB}mb" if refusals else "SIZE"


def _short(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text, advice = f"The worker {problem.subject} {problem.detail}", "It takes fewer calls until it has what it lacks"
    return Cause(text=text, advice=advice, section="workers", runbook=RunbookSection.WORKER_SHORT)


def _dead_letters(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    count = problem.count or 0
    text = f"{count:,} {'notification' if count == 1 else 'notifications'} failed for good"
    advice, runbook = "See why, and repair their receivers", RunbookSection.NOTIFIER_FAILS
    return Cause(text=text, advice=advice, remedy="openfall outbox", runbook=runbook)


def _other_catalog(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"The worker {problem.subject} reads another configuration than this process"
    advice, runbook = "Use one file on every machine", RunbookSection.OTHER_CONFIGURATION
    return Cause(text=text, advice=advice, section="workers", runbook=runbook)


CAUSES: Mapping[ProblemCode, Callable[[FleetProblem, PageSnapshot], Cause]] = {
    ProblemCode.NO_WORKER: _no_worker,
    ProblemCode.NOT_SERVED: _not_served,
    ProblemCode.WORKER_SHORT: _short,
    ProblemCode.NO_DEGRADE_WORKER: _no_degrade_worker,
    ProblemCode.SUSPENDED: _suspended,
    ProblemCode.NOT_ACCEPTING: _not_accepting,
    ProblemCode.HELD: of_held,
    ProblemCode.DEAD_LETTERS: _dead_letters,
    ProblemCode.OTHER_CATALOG: _other_catalog,
}
