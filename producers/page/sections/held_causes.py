"""Held jobs in the lines on top: of which roles, for which reason, and what returns them."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.producers.fleet_problems import FleetProblem
from openfall.producers.held_release_text import (
    EXPECTED_BY_CARD,
    Condition,
    expected_return,
    hold_meaning,
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
    """The jobs that are held for one reason. Of a long list the page reads only those that are held longest."""
    reason, count = HoldReason(str(problem.subject)), problem.count or 0
    jobs = [job for job in snapshot.held_jobs if job.reason is reason]
    conditions = _conditions(reason, jobs, snapshot)
    at_least = "At least " if snapshot.held.examined < snapshot.held.total else ""
    names = f"{count:,} {'job' if count == 1 else 'jobs'}{_roles(jobs)} held ({reason.replace('_', ' ')})"
    return Cause(
        text=f"{at_least}{names}{', the first' if count > 1 else ''}",
        is_consequence=bool(conditions),
        since=min((job.held_at for job in jobs), default=None),
        advice=return_by_themselves(count, conditions) if conditions else _decision(jobs),
        until=_expected(jobs, snapshot),
        until_text=EXPECTED_BY_CARD,
        section="open-fall",
        runbook=HELD_SECTIONS.get(reason, RunbookSection.HELD),
    )


def _roles(jobs: Sequence[HeldJob]) -> str:
    names = tuple(sorted({job.role for job in jobs if job.role}))
    return f" of {join_names(names, 'and')}" if names else ""


def _decision(jobs: Sequence[HeldJob]) -> str:
    """What the reason means, and what an operator does about it."""
    return ". ".join(filter(None, (hold_meaning(*jobs), f"An operator decides: {operator_act(*jobs)}")))


def _conditions(reason: HoldReason, jobs: Sequence[HeldJob], snapshot: PageSnapshot) -> list[Condition]:
    """What releases them, each by itself. Empty: an operator."""
    if reason not in RELEASED_BY_ITSELF:
        return []
    blocks = ModelCalls(snapshot).blocks
    return [each for job in jobs for each in release_conditions(job, snapshot.catalog, blocks)]


def _expected(jobs: Sequence[HeldJob], snapshot: PageSnapshot) -> float | None:
    """When the first of them could return, if all of them wait for a card."""
    blocks = ModelCalls(snapshot).blocks
    starts = [expected_return(job, snapshot.catalog, blocks) for job in jobs]
    known = [start for start in starts if start is not None]
    return min(known) if known and len(known) == len(starts) else None
