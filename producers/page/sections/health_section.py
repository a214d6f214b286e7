"""The sentence on top: whether people get answers, and if not, why, since when, and what to press."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from openfall.producers.age import format_age
from openfall.producers.fleet_problems import (
    FleetProblem,
    ProblemCode,
    ProblemSeverity,
    list_problems,
    problems_of_catalogs,
)
from openfall.producers.outage import Away, Wait
from openfall.producers.page.page_snapshot import PageSnapshot, Source
from openfall.router_core.catalog.budget_scope import all_budgets
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.budget_book import BudgetState, list_budgets
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, Urgency


async def _fetch_budgets(link: RedisConnection, catalog: Catalog) -> list[BudgetState]:
    budgets = list(all_budgets(catalog))
    if not budgets:
        return []
    seconds, _ = await link.command("TIME")
    return await list_budgets(link, budgets, int(seconds), forecasts=False)


BUDGETS = Source("budgets", _fetch_budgets, every_seconds=5.0)
MAX_CAUSES = 8
MAX_LATENESS = 2.0
"""An interactive job that has waited so many times its target: its caller gives up."""


class FleetHealth(StrEnum):
    """GOOD: people get answers. IMPAIRED: they do, and something needs attention. FAILING: some or all get none."""

    GOOD = "good"
    IMPAIRED = "impaired"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong, and what helps. `since`, `until`: epoch seconds. `section` has the buttons for it;
    `remedy` is what an operator does elsewhere. `is_wait`: people wait, and get their answers late."""

    text: str
    health: FleetHealth = FleetHealth.IMPAIRED
    since: float | None = None
    until: float | None = None
    until_text: str = ""
    section: str = ""
    remedy: str = ""
    is_wait: bool = False


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    causes = sorted(_causes(snapshot), key=lambda cause: cause.health is not FleetHealth.FAILING)
    health = causes[0].health if causes else FleetHealth.GOOD
    if all(cause.health is FleetHealth.GOOD for cause in causes):
        health = FleetHealth.GOOD
    return {
        "health": health,
        "sentence": _sentence(health, causes, snapshot),
        "causes": causes[:MAX_CAUSES],
        "more": max(0, len(causes) - MAX_CAUSES),
    }


def _sentence(health: FleetHealth, causes: list[Cause], snapshot: PageSnapshot) -> str:
    if snapshot.redis_away_since is not None:
        return "Nobody gets an answer: Redis does not answer."
    status = snapshot.status
    if health is FleetHealth.FAILING and all(cause.is_wait for cause in causes if cause.health is health):
        return "People wait too long for their answers."
    if health is FleetHealth.FAILING:
        return "Some people get no answer." if _anything_answers(snapshot) else "Nobody gets an answer."
    alive = sum(worker.alive for worker in status.workers)
    started = sum(queue.started for queue in status.queues)
    work = f"{started:,} {'call is' if started == 1 else 'calls are'} under way" if started else "nothing waits"
    work = f"{status.waiting:,} {'waits' if status.waiting == 1 else 'wait'}, {work}" if status.waiting else work
    if health is FleetHealth.GOOD:
        return f"People get answers: nothing is late, {work}, {alive} {'worker' if alive == 1 else 'workers'} ready."
    return f"People get answers, but {'one thing needs' if len(causes) == 1 else 'some things need'} attention."


def _anything_answers(snapshot: PageSnapshot) -> bool:
    """Whether any model takes calls, and a worker makes them."""
    status = snapshot.status
    if status.suspended or not any(worker.alive for worker in status.workers):
        return False
    models = snapshot.catalog.models
    at = {(alias, backend) for alias, spec in models.items() for backend in spec.backends}
    for item in snapshot.away:
        at -= {(alias, backend) for alias, backend in at if item.model in (None, alias) and backend in item.backends}
    return bool(at)


def _causes(snapshot: PageSnapshot) -> Iterator[Cause]:
    if snapshot.redis_away_since is not None:
        yield Cause(
            text="No job is accepted, and none is called. Accepted jobs are on its disk and go on when it answers",
            health=FleetHealth.FAILING,
            since=snapshot.redis_away_since,
            remedy="start Redis again; openfall preflight examines it",
        )
        return
    yield from _late(snapshot)
    problems = list_problems(snapshot.status, snapshot.held, snapshot.dead_letters, ())
    for problem in (*problems, *problems_of_catalogs(snapshot.status.workers, snapshot.catalog_digest)):
        if (describe := _TEXTS.get(problem.code)) is not None:
            yield describe(problem, snapshot)
    yield from map(_of_target, snapshot.away)
    yield from _quiet(snapshot)
    yield from map(_of_budget, filter(_is_spent, snapshot.sources.get(BUDGETS.name, ())))
    if snapshot.local_only is not None:
        yield Cause(text=f"Local only: no job leaves the local pools ({snapshot.local_only})", section="switch")


def _late(snapshot: PageSnapshot) -> Iterator[Cause]:
    """The urgencies of which a job waits for longer than its target."""
    for urgency, policy in snapshot.catalog.urgency.items():
        late = [
            queue
            for queue in snapshot.status.queues
            if queue.urgency is urgency and (queue.oldest_seconds or 0) > policy.start_within
        ]
        if late:
            yield _of_late_queues(urgency, late, policy.start_within, snapshot.now)


def _of_late_queues(urgency: Urgency, late: list[QueueStatus], target: float, now: float) -> Cause:
    worst = max(late, key=lambda queue: queue.oldest_seconds or 0)
    others = f" and {len(late) - 1} more" if len(late) > 1 else ""
    oldest = worst.oldest_seconds or 0.0
    health = (
        FleetHealth.FAILING
        if urgency is Urgency.INTERACTIVE and oldest > MAX_LATENESS * target
        else FleetHealth.IMPAIRED
    )
    text = f"{urgency.capitalize()} jobs start late, in {worst.name}{others}: the target is {format_age(target)}"
    return Cause(text=text, health=health, since=now - oldest, section="queues", is_wait=True)


def _quiet(snapshot: PageSnapshot) -> Iterator[Cause]:
    quiet = [worker for worker in snapshot.status.workers if worker.alive and worker.quiet]
    alive = sum(worker.alive for worker in snapshot.status.workers)
    if quiet:
        names = ", ".join(worker.name for worker in quiet[:3]) + (f" and {len(quiet) - 3} more" if quiet[3:] else "")
        is_everyone = len(quiet) == alive and snapshot.status.waiting > 0
        health = FleetHealth.FAILING if is_everyone else FleetHealth.IMPAIRED
        yield Cause(text=f"An operator keeps {names} from further jobs", health=health, section="workers")


def _of_target(item: Away) -> Cause:
    if item.wait is Wait.COOLDOWN:
        return Cause(text=f"{item.name} is rate limited", until=item.until, until_text="for", section="breakers")
    plan = " (a flat plan: other models answer, which may be metered)" if item.flat_plan else ""
    until_text = "next probe in" if item.wait is Wait.PROBE else "called again in"
    return Cause(
        text=f"{item.name} takes no calls: {item.cause}{plan}",
        since=item.since,
        until=item.until,
        until_text=until_text,
        section="breakers",
    )


def _jobs(problem: FleetProblem) -> str:
    count = problem.count or 0
    return f"{count:,} {'job' if count == 1 else 'jobs'}"


def _health_of(problem: FleetProblem) -> FleetHealth:
    return FleetHealth.FAILING if problem.severity is ProblemSeverity.FAILURE else FleetHealth.IMPAIRED


def _no_worker(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    waits = f", and {_jobs(problem)} {'waits' if problem.count == 1 else 'wait'}" if problem.count else ""
    remedy = "openfall up, or openfall work POOL"
    return Cause(text=f"No worker is alive{waits}", health=_health_of(problem), section="workers", remedy=remedy)


def _not_served(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    pool = str(problem.subject).partition(".")[0]
    text = f"No worker serves {problem.subject}, where {_jobs(problem)} wait"
    return Cause(text=text, health=_health_of(problem), section="workers", remedy=f"openfall work {pool}")


def _no_degrade_worker(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"{_jobs(problem)} without a model wait for the degrade worker: their callers hear nothing"
    return Cause(text=text, health=_health_of(problem), section="workers", remedy="openfall work degrade")


def _suspended(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    return Cause(text="Every worker is suspended", health=_health_of(problem), remedy="rq resume")


def _not_accepting(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"New jobs are refused: {problem.detail}"
    return Cause(text=text, health=_health_of(problem), remedy="give Redis more maxmemory, or drop held jobs")


def _short(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    return Cause(text=f"The worker {problem.subject} {problem.detail}", section="workers")


def _paused(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    waits = "waits" if problem.count == 1 else "wait"
    return Cause(text=f"{problem.subject} is paused, and {_jobs(problem)} {waits} there", section="queues")


def _held(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    began = [incident.began_at for incident in snapshot.incidents if incident.reason == problem.subject]
    models = ", ".join(snapshot.held.models[:3]) if problem.subject in RELEASED_BY_ITSELF else ""
    reason = str(problem.subject).replace("_", " ")
    ends = f"; released by itself when {models} takes calls" if models else "; an operator decides"
    text = f"{_jobs(problem)} held ({reason}){ends}"
    return Cause(text=text, since=min(began, default=None), section="open-fall")


def _dead_letters(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    count = problem.count or 0
    text = f"{count:,} {'notification' if count == 1 else 'notifications'} failed for good"
    return Cause(text=text, remedy="openfall outbox")


def _other_catalog(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    text = f"The worker {problem.subject} reads another configuration than this door"
    return Cause(text=text, section="workers", remedy="use one file on every machine")


def _is_spent(state: BudgetState) -> bool:
    return state.left <= 0 or state.refused > 0


def _of_budget(state: BudgetState) -> Cause:
    who = f" of {state.who}" if state.who else ""
    verb = "is spent" if state.left <= 0 else "has no room for some calls"
    refused = f"; {state.refused:,} refused" if state.refused else ""
    money = f"${state.spent / 1e9:.2f} of ${state.limit / 1e9:.2f}"
    text = f"The budget {state.budget.name}{who} {verb} ({money}{refused})"
    until = None if state.window == "ever" else state.ends_at
    remedy = f"openfall budgets raise {state.budget.name} USD"
    return Cause(text=text, until=until, until_text="anew in", remedy=remedy)


_TEXTS: Mapping[ProblemCode, Callable[[FleetProblem, PageSnapshot], Cause]] = {
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
