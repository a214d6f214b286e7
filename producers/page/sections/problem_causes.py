"""The problems of `openfall status --json` as the page says them: what is wrong, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from openfall.producers.amount_text import describe_waiting
from openfall.producers.fleet_problems import SECTIONS, FleetProblem, ProblemCode, ProblemSeverity
from openfall.producers.last_worker_text import describe_start, start_command, start_commands
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.held_causes import of_held
from openfall.producers.redis_cli import is_of_one_machine, redis_cli
from openfall.producers.removed_queue import describe_removed_queue, is_removed, removed_queue_advice
from openfall.producers.runbook import RunbookSection
from openfall.router_core.state.fleet_status import MemoryRefusals
from openfall.router_core.state.keys import DEGRADE, LOST_WRITES, pool_of
from openfall.router_core.state.last_workers import LastWorker

MIB = 2**20


def _jobs(problem: FleetProblem) -> str:
    count = problem.count or 0
    return f"{count:,} {'job' if count == 1 else 'jobs'}"


def _waits(problem: FleetProblem) -> str:
    return "waits" if problem.count == 1 else "wait"


def _health_of(problem: FleetProblem) -> FleetHealth:
    return FleetHealth.FAILING if problem.severity is ProblemSeverity.FAILURE else FleetHealth.IMPAIRED


def _no_worker(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    last = snapshot.status.last_workers
    host, remedy = start_commands(last) if last else ("", "openfall up, or openfall work POOL")
    return replace(
        _of_workers("No worker is alive", FleetHealth.FAILING, last, remedy),
        host=host,
        effect=describe_waiting(problem.count or 0),
    )


def _not_served(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    queue = str(problem.subject)
    if is_removed(queue, snapshot.catalog):
        return _of_removed_queue(queue, problem, snapshot)
    line = _of_pool(f"No worker serves {queue}", problem, pool_of(queue), snapshot)
    return replace(line, effect=describe_waiting(problem.count or 0))


def _of_removed_queue(queue: str, problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    return Cause(
        text=describe_removed_queue(queue, snapshot.catalog),
        health=_health_of(problem),
        effect=describe_waiting(problem.count or 0),
        advice=removed_queue_advice(queue, snapshot.catalog),
        section="queues",
        runbook=RunbookSection.NO_WORKER,
    )


def _no_degrade_worker(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    if not problem.count:
        line = _of_pool("No degrade worker takes jobs", problem, DEGRADE, snapshot)
        return replace(line, effect="A job that no model can serve gets no reply, and no webhook or notice is sent")
    text = f"{_jobs(problem)} without a model {_waits(problem)} for the degrade worker"
    return replace(_of_pool(text, problem, DEGRADE, snapshot), since=None, effect="No caller hears anything")


def _of_pool(text: str, problem: FleetProblem, pool: str, snapshot: PageSnapshot) -> Cause:
    last = [worker for worker in snapshot.status.last_workers if worker.pool == pool]
    return _of_workers(text, _health_of(problem), last, start_command(pool, last))


def _of_workers(text: str, health: FleetHealth, last: Sequence[LastWorker], remedy: str) -> Cause:
    return Cause(
        text=text,
        health=health,
        since=last[0].beat_at if last else None,
        advice=describe_start(last),
        remedy=remedy,
        host=last[0].host if last else "",
        section="workers",
        runbook=RunbookSection.NO_WORKER,
    )


def _suspended(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    return Cause(
        text="Every worker is suspended",
        health=_health_of(problem),
        effect=describe_waiting(problem.count or 0),
        advice="Resume to end it",
        remedy="rq resume -u REDIS_URL",
        runbook=RunbookSection.SUSPENDED,
    )


def _not_accepting(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    refusals = snapshot.status.memory_refusals
    counted = f"{_counted(refusals.refused)} not accepted since. " if refusals else ""
    drop = ", or drop held jobs" if snapshot.held.total else ""
    detail = problem.detail or ""
    return Cause(
        text=detail[:1].upper() + detail[1:],
        health=_health_of(problem),
        since=refusals.since if refusals else None,
        advice=(
            f"{counted}Callers get HTTP 503 and may try again; accepted jobs go on. Raise maxmemory, also in the "
            f"configuration file of Redis{drop}"
        ),
        runbook=RunbookSection.REDIS_MEMORY,
        remedy=f"{redis_cli(snapshot.redis_url)} CONFIG SET maxmemory {_more_memory(refusals)}",
        host=snapshot.host if is_of_one_machine(snapshot.redis_url) else "",
    )


def _lost_writes(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    return Cause(
        text=problem.detail or "",
        effect="The jobs, answers and sums of budgets of that time are gone",
        advice="Programs that wait submit their jobs again. This line stays for a day, or until this command",
        runbook=RunbookSection.LOST_WRITES,
        remedy=f"{redis_cli(snapshot.redis_url)} DEL {LOST_WRITES}",
        host=snapshot.host if is_of_one_machine(snapshot.redis_url) else "",
    )


def _counted(refused: int) -> str:
    return f"{refused:,} {'job was' if refused == 1 else 'jobs were'}"


def _more_memory(refusals: MemoryRefusals | None) -> str:
    """Twice the `maxmemory` of now, as redis-cli reads it."""
    return f"{2 * refusals.maxmemory_bytes // MIB}mb" if refusals else "SIZE"


def _on_host(name: str | None, snapshot: PageSnapshot) -> str:
    """A worker with its host: what helps is done there."""
    hosts = (worker.host for worker in snapshot.status.workers if worker.name == name)
    return f"{name}{''.join(f' on {host}' for host in hosts if host)}"


def _short(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    text = f"The worker {_on_host(problem.subject, snapshot)} {problem.detail}"
    advice = "It takes fewer calls until it has what it lacks"
    return Cause(text=text, advice=advice, section="workers", runbook=RunbookSection.WORKER_SHORT)


def _dead_letters(problem: FleetProblem, _snapshot: PageSnapshot) -> Cause:
    count = problem.count or 0
    text = f"{count:,} {'notification' if count == 1 else 'notifications'} failed for good"
    advice, runbook = "See why, and repair their receivers", RunbookSection.NOTIFIER_FAILS
    return Cause(text=text, advice=advice, remedy="openfall outbox", runbook=runbook)


def _other_catalog(problem: FleetProblem, snapshot: PageSnapshot) -> Cause:
    is_gateway = any(gateway.name == problem.subject for gateway in snapshot.status.gateways)
    name = _on_host(problem.subject, snapshot)
    text = f"The {'gateway' if is_gateway else 'worker'} {name} reads another configuration than this process"
    advice, runbook = "Use one file on every machine", RunbookSection.OTHER_CONFIGURATION
    return Cause(text=text, advice=advice, section="" if is_gateway else "workers", runbook=runbook)


def problems_of_causes(causes: Iterable[Cause]) -> list[FleetProblem]:
    """The causes that no problem of `list_problems` stands for, as problems for a monitor."""
    return [
        FleetProblem(
            code=_CODES[cause.runbook],
            severity=ProblemSeverity.FAILURE if cause.health is FleetHealth.FAILING else ProblemSeverity.WARNING,
            subject=cause.subject or None,
            detail=cause.text,
        )
        for cause in causes
        if cause.runbook in _CODES
    ]


_CODES: Mapping[RunbookSection, ProblemCode] = {
    SECTIONS[code]: code
    for code in (
        ProblemCode.NO_GATEWAY,
        ProblemCode.BUDGET_SPENT,
        ProblemCode.WORKER_QUIET,
        ProblemCode.CARD_SWAPS,
        ProblemCode.LATE,
    )
}

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
    ProblemCode.LOST_WRITES: _lost_writes,
}
