"""The problems of `openfall status --json` as the page says them: what is wrong, and what helps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from openfall.producers.fleet_problems import FleetProblem, ProblemCode, ProblemSeverity
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.held_causes import of_held
from openfall.producers.redis_cli import redis_cli
from openfall.router_core.state.keys import pool_of


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
    return Cause(text=text, health=FleetHealth.FAILING, advice=advice, remedy=remedy, section="workers")


def _not_served(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"No worker serves {problem.subject}, where {_jobs(problem)} {_waits(problem)}"
    remedy = f"openfall work {pool_of(str(problem.subject))}"
    return Cause(text=text, health=_health_of(problem), advice="Start one", remedy=remedy, section="workers")


def _no_degrade_worker(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"{_jobs(problem)} without a model {_waits(problem)} for the degrade worker: no caller hears anything"
    remedy = "openfall work degrade"
    return Cause(text=text, health=_health_of(problem), advice="Start it", remedy=remedy, section="workers")


def _suspended(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text, advice = "Every worker is suspended", "End it"
    return Cause(text=text, health=_health_of(problem), advice=advice, remedy="rq resume")


def _not_accepting(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    drop = ", or drop held jobs" if snapshot.held.total else ""
    return Cause(
        text=f"New jobs are refused: {problem.detail}",
        health=_health_of(problem),
        advice=(
            "Callers get HTTP 503 and may try again; accepted jobs go on. Raise maxmemory, also in the configuration "
            f"file of Redis{drop}"
        ),
        remedy=f"{redis_cli(snapshot.redis_url)} CONFIG SET maxmemory {_more_memory(problem.detail or '')}",
    )


def _more_memory(detail: str) -> str:
    """Twice the `maxmemory` that a text names, as redis-cli reads it."""
    match = re.search(r"its (\d+) MiB", detail)
    return f"{2 * int(match[1])}mb" if match else "SIZE"


def _short(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text, advice = f"The worker {problem.subject} {problem.detail}", "It takes fewer calls until it has what it lacks"
    return Cause(text=text, advice=advice, section="workers")


def _dead_letters(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    count = problem.count or 0
    text = f"{count:,} {'notification' if count == 1 else 'notifications'} failed for good"
    return Cause(text=text, advice="See why, and repair their receivers", remedy="openfall outbox")


def _other_catalog(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"The worker {problem.subject} reads another configuration than this gateway"
    return Cause(text=text, advice="Use one file on every machine", section="workers")


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
