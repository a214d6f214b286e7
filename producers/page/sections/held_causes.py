"""Held jobs in the lines on top: of which roles, for which reason, and what returns them."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.producers.fleet_problems import FleetProblem
from openfall.producers.held_release_text import (
    ACCEPTS_CALLS,
    HOLD_MEANINGS,
    SWITCHED_OFF,
    Condition,
    describe_conditions,
    expected_return,
    join_names,
    operator_act,
    release_conditions,
    return_by_themselves,
)
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause
from openfall.producers.page.sections.model_calls import ModelCalls
from openfall.producers.runbook import HELD_SECTIONS, RunbookSection
from openfall.router_core.state.held_jobs import HeldJob
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason


def of_held(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    """The jobs that are held for one reason."""
    reason, count = HoldReason(str(problem.subject)), problem.count or 0
    jobs = [job for job in snapshot.held_jobs if job.reason is reason]
    conditions = _conditions(reason, jobs, snapshot)
    began = [incident.began_at for incident in snapshot.incidents if incident.reason == reason]
    return Cause(
        text=f"{count:,} {'job' if count == 1 else 'jobs'}{_roles(jobs)} held ({reason.replace('_', ' ')})",
        is_consequence=bool(conditions),
        since=min(began, default=None),
        advice=return_by_themselves(count, conditions) if conditions else _decision(reason, jobs),
        until=_expected(jobs, snapshot),
        until_text="in about",
        section="open-fall",
        runbook=HELD_SECTIONS.get(reason, RunbookSection.HELD),
    )


def _roles(jobs: Sequence[HeldJob]) -> str:
    names = tuple(sorted({job.role for job in jobs if job.role}))
    return f" of {join_names(names, 'and')}" if names else ""


def _decision(reason: HoldReason, jobs: Sequence[HeldJob]) -> str:
    """What the reason means, and what an operator does about it."""
    act = operator_act(jobs[0]) if jobs else "see its row" if reason is HoldReason.POISONED else "see their rows"
    return ". ".join(filter(None, (HOLD_MEANINGS.get(reason, ""), f"An operator decides: {act}")))


def _conditions(reason: HoldReason, jobs: Sequence[HeldJob], snapshot: PageSnapshot) -> list[Condition]:
    """What releases them, each by itself. Empty: an operator."""
    if reason not in RELEASED_BY_ITSELF:
        return []
    blocks = ModelCalls(snapshot).blocks
    conditions = [each for job in jobs for each in release_conditions(job, snapshot.catalog, blocks)]
    if conditions or jobs:
        return conditions
    if reason is HoldReason.PAUSED:
        return [Condition(name, "is resumed") for name in sorted(blocks.paused) or ("their queue",)]
    if reason is HoldReason.LOCAL_ONLY:
        return [SWITCHED_OFF]
    if reason is HoldReason.BUDGET:
        return [Condition("the budget", "is raised or resets")]
    return [Condition(model, ACCEPTS_CALLS) for model in snapshot.held.models]


def held_condition(snapshot: PageSnapshot) -> str:
    """When the held jobs return by themselves, to stand behind `when`. Empty: an operator returns them."""
    by_reason = {
        reason: [job for job in snapshot.held_jobs if job.reason is reason] for reason in snapshot.held.by_reason
    }
    return describe_conditions(
        condition for reason, jobs in by_reason.items() for condition in _conditions(reason, jobs, snapshot)
    )


def _expected(jobs: Sequence[HeldJob], snapshot: PageSnapshot) -> float | None:
    """When the first of them could return, if all of them wait for a card."""
    blocks = ModelCalls(snapshot).blocks
    starts = [expected_return(job, snapshot.catalog, blocks) for job in jobs]
    known = [start for start in starts if start is not None]
    return min(known) if known and len(known) == len(starts) else None
