"""What is wrong with the fleet, for a monitor: a stable code, a severity and a subject for each fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from openfall.producers.duration_text import format_time
from openfall.producers.outage_text import Away, Wait
from openfall.producers.runbook import HELD_SECTIONS, RunbookSection
from openfall.router_core.redis_preconditions import Finding
from openfall.router_core.state.fleet_catalogs import FleetMember, has_other_catalog
from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus
from openfall.router_core.state.held_jobs import HeldSummary
from openfall.router_core.state.keys import DEGRADE
from openfall.router_core.state.lost_writes import LostWrites
from openfall.router_core.vocabulary import HoldReason


class ProblemSeverity(StrEnum):
    """FAILURE: jobs get no answer. WARNING: the fleet works, and something needs attention."""

    WARNING = "warning"
    FAILURE = "failure"


class ProblemCode(StrEnum):
    """The kind of a problem. Programs compare with these: they do not change."""

    NO_WORKER = "no_worker"
    NOT_SERVED = "not_served"
    WORKER_SHORT = "worker_short"
    NO_DEGRADE_WORKER = "no_degrade_worker"
    SUSPENDED = "suspended"
    NOT_ACCEPTING = "not_accepting"
    UNSUITABLE_REDIS = "unsuitable_redis"
    OTHER_CATALOG = "other_catalog"
    OVERDUE = "overdue"
    PAUSED = "paused"
    BREAKER_OPEN = "breaker_open"
    UNHEALTHY = "unhealthy"
    HELD = "held"
    NO_GATEWAY = "no_gateway"
    BUDGET_SPENT = "budget_spent"
    WORKER_QUIET = "worker_quiet"
    CARD_SWAPS = "card_swaps"
    LATE = "late"
    DEAD_LETTERS = "dead_letters"
    LOST_WRITES = "lost_writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetProblem:
    """One fault. `subject` is a queue, a target or a reason; `count` the number of jobs or notifications."""

    code: ProblemCode
    severity: ProblemSeverity
    subject: str | None = None
    count: int | None = None
    detail: str | None = None

    @property
    def runbook(self) -> RunbookSection:
        """The section of the runbook that says what helps."""
        if self.code is ProblemCode.HELD:
            return HELD_SECTIONS.get(HoldReason(str(self.subject)), RunbookSection.HELD)
        return SECTIONS[self.code]


SECTIONS: Mapping[ProblemCode, RunbookSection] = {
    ProblemCode.NO_WORKER: RunbookSection.NO_WORKER,
    ProblemCode.NOT_SERVED: RunbookSection.NO_WORKER,
    ProblemCode.NO_DEGRADE_WORKER: RunbookSection.NO_WORKER,
    ProblemCode.WORKER_SHORT: RunbookSection.WORKER_SHORT,
    ProblemCode.SUSPENDED: RunbookSection.SUSPENDED,
    ProblemCode.NOT_ACCEPTING: RunbookSection.REDIS_MEMORY,
    ProblemCode.UNSUITABLE_REDIS: RunbookSection.REDIS_UNSUITABLE,
    ProblemCode.OTHER_CATALOG: RunbookSection.OTHER_CONFIGURATION,
    ProblemCode.OVERDUE: RunbookSection.LATE,
    ProblemCode.PAUSED: RunbookSection.QUEUE_PAUSED,
    ProblemCode.BREAKER_OPEN: RunbookSection.BREAKER_OPEN,
    ProblemCode.UNHEALTHY: RunbookSection.BREAKER_OPEN,
    ProblemCode.DEAD_LETTERS: RunbookSection.NOTIFIER_FAILS,
    ProblemCode.NO_GATEWAY: RunbookSection.GATEWAY_AWAY,
    ProblemCode.BUDGET_SPENT: RunbookSection.BUDGET_SPENT,
    ProblemCode.WORKER_QUIET: RunbookSection.WORKER_QUIET,
    ProblemCode.CARD_SWAPS: RunbookSection.CARD_SWAPS,
    ProblemCode.LATE: RunbookSection.LATE,
    ProblemCode.LOST_WRITES: RunbookSection.LOST_WRITES,
}
"""The section of each code but `held`."""


def list_problems(
    status: FleetStatus,
    held: HeldSummary,
    dead_letters: int,
    away: Sequence[Away],
    max_wait_seconds: float | None = None,
) -> list[FleetProblem]:
    """The problems of jobs, workers and targets. A job that waits longer than `max_wait_seconds` is one.

    A cooldown after a 429, a reached limit and the local-only switch are no problems: they are as configured.
    """
    problems = [
        *_of_workers(status),
        *_of_shortages(status),
        *_of_queues(status, max_wait_seconds),
        *_of_targets(away),
        *(
            FleetProblem(code=ProblemCode.HELD, severity=ProblemSeverity.WARNING, subject=str(reason), count=count)
            for reason, count in held.by_reason.items()
        ),
    ]
    if (lost := status.lost_writes) is not None:
        problems.append(
            FleetProblem(code=ProblemCode.LOST_WRITES, severity=ProblemSeverity.WARNING, detail=describe_loss(lost))
        )
    if dead_letters:
        problems.append(
            FleetProblem(code=ProblemCode.DEAD_LETTERS, severity=ProblemSeverity.WARNING, count=dead_letters)
        )
    return failures_first(problems)


def describe_loss(lost: LostWrites) -> str:
    """`Redis lost all that it had stored until 2026-11-21 08:00:00+01:00`."""
    if lost.since is None:
        return f"Redis lost all that it had stored until {format_time(lost.until)}"
    return f"Redis lost what it had stored from {format_time(lost.since)} to {format_time(lost.until)}"


def failures_first(problems: Iterable[FleetProblem]) -> list[FleetProblem]:
    """Problems by their severity, otherwise in their order."""
    return sorted(problems, key=lambda problem: problem.severity is ProblemSeverity.WARNING)


def problems_of_server(findings: Sequence[Finding]) -> list[FleetProblem]:
    """The preconditions of Redis for which no job is accepted. Warnings and accepted risks are no problems."""
    return [
        FleetProblem(
            code=ProblemCode.UNSUITABLE_REDIS,
            severity=ProblemSeverity.FAILURE,
            subject=finding.name,
            detail=str(finding),
        )
        for finding in findings
        if finding.is_fatal
    ]


def problems_of_catalogs(members: Iterable[FleetMember], own_digest: str) -> list[FleetProblem]:
    """The live workers and gateways that read another configuration."""
    return [
        FleetProblem(
            code=ProblemCode.OTHER_CATALOG, severity=ProblemSeverity.WARNING, subject=member.name, detail=member.catalog
        )
        for member in members
        if has_other_catalog(member, own_digest)
    ]


def worst(problems: Sequence[FleetProblem]) -> ProblemSeverity | None:
    """The severity of the fleet; None: all is well."""
    severities = {problem.severity for problem in problems}
    return next(
        (severity for severity in (ProblemSeverity.FAILURE, ProblemSeverity.WARNING) if severity in severities), None
    )


def _of_workers(status: FleetStatus) -> Iterator[FleetProblem]:
    alive = [worker for worker in status.workers if worker.alive]
    if not alive:
        severity = ProblemSeverity.FAILURE if status.waiting or status.falling else ProblemSeverity.WARNING
        yield FleetProblem(code=ProblemCode.NO_WORKER, severity=severity, count=status.waiting + status.falling)
    elif not any(DEGRADE in worker.queues for worker in alive if worker.takes_jobs):
        severity = ProblemSeverity.FAILURE if status.falling else ProblemSeverity.WARNING
        yield FleetProblem(code=ProblemCode.NO_DEGRADE_WORKER, severity=severity, count=status.falling)
    if status.suspended:
        yield FleetProblem(code=ProblemCode.SUSPENDED, severity=ProblemSeverity.FAILURE, count=status.waiting)
    if status.memory_pressure:
        yield FleetProblem(
            code=ProblemCode.NOT_ACCEPTING, severity=ProblemSeverity.FAILURE, detail=status.memory_pressure
        )
    if alive:
        for queue in status.unserved:
            yield _of_queue(ProblemCode.NOT_SERVED, ProblemSeverity.FAILURE, queue)


def _of_shortages(status: FleetStatus) -> Iterator[FleetProblem]:
    for worker in status.workers:
        if worker.alive and worker.shortage:
            code, severity = ProblemCode.WORKER_SHORT, ProblemSeverity.WARNING
            yield FleetProblem(code=code, severity=severity, subject=worker.name, detail=worker.shortage)


def _of_queues(status: FleetStatus, max_wait_seconds: float | None) -> Iterator[FleetProblem]:
    for queue in status.queues:
        if queue.paused and queue.waiting:
            yield _of_queue(ProblemCode.PAUSED, ProblemSeverity.WARNING, queue)
        if max_wait_seconds is not None and (queue.oldest_seconds or 0) > max_wait_seconds:
            yield _of_queue(
                ProblemCode.OVERDUE,
                ProblemSeverity.FAILURE,
                queue,
                f"the oldest waits for {queue.oldest_seconds:.0f} s",
            )


def _of_queue(
    code: ProblemCode, severity: ProblemSeverity, queue: QueueStatus, detail: str | None = None
) -> FleetProblem:
    return FleetProblem(code=code, severity=severity, subject=queue.name, count=queue.waiting, detail=detail)


def _of_targets(away: Sequence[Away]) -> Iterator[FleetProblem]:
    codes = {
        Wait.PROBE: ProblemCode.BREAKER_OPEN,
        Wait.OPERATOR: ProblemCode.BREAKER_OPEN,
        Wait.CHECK: ProblemCode.UNHEALTHY,
    }
    for item in away:
        if code := codes.get(item.wait):
            yield FleetProblem(code=code, severity=ProblemSeverity.WARNING, subject=item.name, detail=item.cause)
