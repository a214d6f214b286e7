"""The sentence on top: whether people get answers, and if not, why, since when, and what to press."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from openfall.producers.duration_text import format_age
from openfall.producers.fleet_problems import FleetProblem, ProblemCode, list_problems, problems_of_catalogs
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.budget_causes import budget_causes
from openfall.producers.page.sections.card_causes import card_causes
from openfall.producers.page.sections.cause import Cause, FleetHealth, health_of_wait
from openfall.producers.page.sections.model_and_key_causes import model_and_key_causes
from openfall.producers.page.sections.model_calls import LOCAL_ONLY, ModelCalls
from openfall.producers.page.sections.operator_switch_causes import SilentRoles, operator_switch_causes
from openfall.producers.page.sections.problem_causes import CAUSES, problems_of_causes
from openfall.producers.page.sections.worker_causes import gateway_causes, pools_without_worker, worker_causes
from openfall.producers.page.sources import BUDGETS, CARD_STATES
from openfall.producers.runbook import RunbookSection
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.state.keys import model_of, pool_of
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, Urgency

SOURCES = (BUDGETS, CARD_STATES)
MAX_CAUSES, MAX_ROLES = 10, 3
LAST = frozenset({ProblemCode.WORKER_SHORT, ProblemCode.OTHER_CATALOG, ProblemCode.HELD, ProblemCode.DEAD_LETTERS})
"""What keeps few jobs from an answer, or none, stands behind what keeps many."""


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    silent = dict(ModelCalls(snapshot).silent_roles())
    causes = [*_causes(snapshot, silent), *_of_silent_roles(silent, snapshot)]
    causes.sort(key=lambda cause: cause.order)
    is_failing = any(cause.health is FleetHealth.FAILING for cause in causes)
    health = FleetHealth.FAILING if is_failing else FleetHealth.IMPAIRED if causes else FleetHealth.GOOD
    return {
        "health": health,
        "sentence": _sentence(health, causes, silent, snapshot),
        "has_silent_roles": bool(silent),
        "unanswered": _has_unanswered_jobs(silent, snapshot),
        "problems": problems_of_causes(causes),
        "causes": causes[:MAX_CAUSES],
        "more": max(0, len(causes) - MAX_CAUSES),
    }


def _is_silent(silent: Collection[str], snapshot: PageSnapshot) -> bool:
    """Whether no role has a model that takes calls."""
    return bool(snapshot.catalog.roles) and len(silent) == len(snapshot.catalog.roles)


def _has_unanswered_jobs(silent: SilentRoles, snapshot: PageSnapshot) -> bool:
    """Whether jobs wait or are held because roles have no model that takes calls."""
    status, held = snapshot.status, snapshot.held
    if _is_silent(silent, snapshot):
        return bool(status.waiting or status.falling or held.by_reason)
    calls, models = ModelCalls(snapshot), {alias for obstacles in silent.values() for alias in obstacles}
    waiting = {(model_of(queue.name), queue.urgency) for queue in status.queues if queue.waiting}
    waits = any(alias in models and urgency and calls.obstacle(alias, urgency) for alias, urgency in waiting)
    return waits or not models.isdisjoint(held.models)


def _sentence(health: FleetHealth, causes: list[Cause], silent: Collection[str], snapshot: PageSnapshot) -> str:
    if snapshot.redis_away_since is not None:
        return "No caller gets an answer: Redis does not answer."
    status = snapshot.status
    if status.memory_pressure is not None:
        return "No new job is accepted: Redis is nearly full."
    if _is_silent(silent, snapshot):
        return "No caller gets an answer."
    if silent:
        return f"{_role_names(silent)} no answer; other roles have a model that takes calls."
    if health is FleetHealth.FAILING and all(cause.is_wait for cause in causes if cause.health is health):
        return "People wait too long for their answers."
    if health is FleetHealth.FAILING:
        return "Some people get no answer."
    alive = sum(worker.alive for worker in status.workers)
    if health is FleetHealth.GOOD:
        started = sum(queue.started for queue in status.queues)
        under_way = [f"{started:,} {'call is' if started == 1 else 'calls are'} under way"] if started else []
        waiting = (
            f"{status.waiting:,} {'waits' if status.waiting == 1 else 'wait'}" if status.waiting else "nothing waits"
        )
        workers = f"{alive} {'worker' if alive == 1 else 'workers'} ready"
        return f"People get answers: {', '.join(['nothing is late', waiting, *under_way, workers])}."
    return _impaired_sentence(causes, snapshot)


def _impaired_sentence(causes: list[Cause], snapshot: PageSnapshot) -> str:
    decisions = sum(count for reason, count in snapshot.held.by_reason.items() if reason not in RELEASED_BY_ITSELF)
    if decisions and len(causes) == 1:
        waits = "a held job waits" if decisions == 1 else "held jobs wait"
        return f"Other people get answers, but {waits} for the decision of an operator."
    return f"People get answers, but {'one thing needs' if len(causes) == 1 else 'some things need'} attention."


def _role_names(names: Collection[str]) -> str:
    shown, rest = list(names)[:MAX_ROLES], len(names) - MAX_ROLES
    text = " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if rest <= 0 else ", ".join(shown)
    more = f" and {rest} more" if rest > 0 else ""
    return f"The role {text} gets" if len(names) == 1 else f"The roles {text}{more} get"


def _of_silent_roles(silent: SilentRoles, snapshot: PageSnapshot) -> Iterator[Cause]:
    """The roles of which no model takes calls, where the headline and one other line do not say that already."""
    status = snapshot.status
    if snapshot.redis_away_since is not None or status.suspended or not any(row.alive for row in status.workers):
        return
    reasons = {why for obstacles in silent.values() for why in obstacles.values()}
    if len(reasons) == 1 and (reasons != {LOCAL_ONLY} or snapshot.local_only is not None):
        return
    for name, obstacles in list(silent.items())[:MAX_ROLES]:
        models = ", ".join(f"{alias}: {why}" for alias, why in obstacles.items())
        yield Cause(
            text=f"No model of the role {name} takes calls ({models})",
            health=FleetHealth.FAILING,
            is_consequence=True,
            section="queues",
            runbook=RunbookSection.SILENT_ROLE,
        )


def _causes(snapshot: PageSnapshot, silent: SilentRoles) -> Iterator[Cause]:
    if snapshot.redis_away_since is not None:
        yield Cause(
            text="No job is accepted, and none is called. Accepted jobs are on its disk and go on when it answers",
            health=FleetHealth.FAILING,
            since=snapshot.redis_away_since,
            advice="Start Redis again",
            remedy="openfall preflight",
            runbook=RunbookSection.REDIS_AWAY,
        )
        return
    pools = pools_without_worker(silent, snapshot)
    yield from worker_causes(pools, snapshot)
    yield from gateway_causes(snapshot)
    yield from _late(snapshot)
    problems = list(_problems(pools, snapshot))
    yield from (CAUSES[each.code](each, snapshot) for each in problems if each.code not in LAST)
    yield from model_and_key_causes(silent, snapshot)
    yield from budget_causes(silent, snapshot)
    yield from card_causes(snapshot)
    yield from operator_switch_causes(silent, snapshot)
    yield from (CAUSES[each.code](each, snapshot) for each in problems if each.code in LAST)


def _problems(pools: Collection[str], snapshot: PageSnapshot) -> Iterator[FleetProblem]:
    """The problems that have a line of their own. Queues of `pools` that no worker serves have one together."""
    status = snapshot.status
    yield from problems_of_catalogs(status.members, snapshot.catalog_digest)
    for problem in list_problems(status, snapshot.held, snapshot.dead_letters, ()):
        is_known = problem.code is ProblemCode.NOT_SERVED and pool_of(str(problem.subject)) in pools
        if not is_known and problem.code in CAUSES:
            yield problem


def _late(snapshot: PageSnapshot) -> Iterator[Cause]:
    """The urgencies of which a job waits for longer than its target."""
    for urgency, policy in snapshot.catalog.urgency.items():
        late = [
            queue
            for queue in snapshot.status.queues
            if (queue.oldest_seconds or 0) > policy.start_within and queue.urgency is urgency
        ]
        if late:
            yield _of_late_queues(urgency, late, policy.start_within, snapshot.status.queues_at)


def _of_late_queues(urgency: Urgency, late: list[QueueStatus], target: float, read_at: float) -> Cause:
    worst = max(late, key=lambda queue: queue.oldest_seconds or 0)
    others = f" and {len(late) - 1} more" if len(late) > 1 else ""
    oldest = worst.oldest_seconds or 0.0
    health = health_of_wait(urgency, oldest, target)
    text = f"{urgency.capitalize()} jobs start late, in {worst.name}{others}: their target is {format_age(target)}"
    text += ", and the oldest has waited"
    return Cause(
        text=text,
        health=health,
        since=read_at - oldest,
        section="queues",
        is_wait=True,
        is_consequence=True,
        runbook=RunbookSection.LATE,
    )
