"""`openfall status`: the health of the fleet as the page says it, and every queue."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import click

from openfall.config import describe_source
from openfall.producers.amount_text import describe_waiting, plural
from openfall.producers.cli.exit_codes import HEALTH_CODES
from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.queues import COLUMNS, queue_rows
from openfall.producers.cli.tables import show_table, table
from openfall.producers.cli.terminal import console, echo, plain, show_json, wants_json
from openfall.producers.cli.time_options import DURATION
from openfall.producers.cli.workers import fetch_quiet_by
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_age
from openfall.producers.fleet_problems import (
    FleetProblem,
    ProblemSeverity,
    failures_first,
    list_problems,
    problems_of_catalogs,
    problems_of_server,
    worst,
)
from openfall.producers.held_release_text import configured_models
from openfall.producers.job_request import parse_duration
from openfall.producers.operator_note import describe_note, find_pause
from openfall.producers.outage_text import Away
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from openfall.producers.page.snapshot_reader import SnapshotReader
from openfall.producers.page.sources import CLIENT_KEYS
from openfall.producers.refused_table import describe_refused
from openfall.producers.resolve import fetch_reached_limits
from openfall.router_core.redis_preconditions import Finding
from openfall.router_core.state.fleet_catalogs import describe_catalogs
from openfall.router_core.state.fleet_status import FleetStatus
from openfall.router_core.state.held_jobs import HeldSummary, fetch_held_summary
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_server_check import fetch_findings
from openfall.router_core.state.refused_requests import RefusedRequests, fetch_refused
from openfall.router_core.state.unreadable_values import UnreadableValue, list_unreadable

if TYPE_CHECKING:
    from rich.console import RenderableType


REFRESH_INTERVAL_SECONDS = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Refresh every two seconds, until Ctrl-C.")
@click.option("--max-wait", type=DURATION, help="Report a failure if a job waits longer: 90s, 5m, 2h.")
@common_options
def status(watch: bool, max_wait: str | None) -> int:
    """Show the health of the fleet, its causes with what to do, and every queue.

    For monitors: exits with 4 if jobs get no answer, with 8 if the fleet works but something needs attention.
    """
    limit = parse_duration(max_wait, "--max-wait") if max_wait else None
    if watch:
        _watch(limit)
    status = _status(limit)
    code = HEALTH_CODES[status.severity]
    if wants_json():
        show_json(_json(status))
        return code
    for line in _lines(status):
        console().print(plain(line)) if sys.stdout.isatty() else echo(line)
    if status.overview.queues:
        show_table(COLUMNS, queue_rows(status.overview.queues))
    return code


def _watch(max_wait_seconds: float | None) -> NoReturn:
    from rich.live import Live

    if wants_json() or not sys.stdout.isatty():
        while True:
            status = _status(max_wait_seconds)
            show_json(_json(status)) if wants_json() else echo(" ".join(_lines(status)))
            time.sleep(REFRESH_INTERVAL_SECONDS if wants_json() else 5 * REFRESH_INTERVAL_SECONDS)
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            live.update(_screen(_status(max_wait_seconds)), refresh=True)
            time.sleep(REFRESH_INTERVAL_SECONDS)


@dataclass(frozen=True, slots=True)
class _Status:
    """A snapshot of the fleet. `local_only_reason` says why no job may leave the local pools, or None.
    `away`: what takes no calls now. `limits`: the reached limits of models with waiting jobs. `findings`: the
    preconditions that Redis does not meet."""

    overview: FleetStatus
    held: HeldSummary
    dead_letters: int
    local_only_reason: str | None
    away: list[Away]
    limits: dict[str, str]
    problems: list[FleetProblem]
    findings: tuple[Finding, ...]
    catalogs: str
    """Which workers and gateways read another configuration; empty: none."""
    unreadable: list[UnreadableValue]
    """The last values in Redis that were set aside, newest first."""
    refused: list[RefusedRequests]
    """What the gateway refused today."""
    notes: _Notes

    @property
    def severity(self) -> ProblemSeverity | None:
        """None: all is well. If a role has no model that takes calls (each queue is paused, the budget is spent) that
        is a failure while jobs wait or are held for it, though no single problem is one."""
        if self.notes.health["unanswered"]:
            return ProblemSeverity.FAILURE
        silent = ProblemSeverity.WARNING if self.notes.health["has_silent_roles"] else None
        return worst(self.problems) or silent


@dataclass(frozen=True, slots=True)
class _Notes:
    """`health`: the sentence of the page and its causes. `pauses`: who paused each queue, when and why. `quiet_by`: who
    keeps each quiet worker from further jobs."""

    health: Mapping[str, Any]
    pauses: Mapping[str, str]
    quiet_by: Mapping[str, str]


def _screen(status: _Status) -> RenderableType:
    from rich.console import Group

    rows = table(COLUMNS, queue_rows(status.overview.queues), console().width)
    return Group(*map(plain, _lines(status)), rows, "Ctrl-C stops this view only.")


def _status(max_wait_seconds: float | None) -> _Status:
    async def fetch(llm: AsyncOpenfall) -> _Status:
        link, catalog = llm.store.connection, llm.config.catalog
        snapshot = await SnapshotReader(link, catalog).read((*headline_section.SOURCES, CLIENT_KEYS))
        status, digest, away = snapshot.status, snapshot.catalog_digest, list(snapshot.away)
        held = await fetch_held_summary(link)  # of more jobs than the page reads each second
        held = replace(held, models=configured_models(held.models, catalog))
        findings = await fetch_findings(link, llm.config.settings.server_terms)
        notes = await _fetch_notes(link, snapshot)
        problems = [
            *problems_of_server(findings),
            *list_problems(status, held, snapshot.dead_letters, away, max_wait_seconds),
            *problems_of_catalogs(status.members, digest),
            *notes.health["problems"],
        ]
        return _Status(
            status,
            held,
            snapshot.dead_letters,
            snapshot.local_only,
            away,
            await fetch_reached_limits(link, catalog, status),
            failures_first(problems),
            findings,
            describe_catalogs(status.members, digest, describe_source(llm.config.source)),
            await list_unreadable(link),
            await fetch_refused(link, status.now),
            notes,
        )

    return with_client(fetch)


async def _fetch_notes(link: RedisConnection, snapshot: PageSnapshot) -> _Notes:
    status = snapshot.status
    paused = [queue.name for queue in status.queues if queue.paused]
    return _Notes(
        headline_section.context(snapshot),
        {name: describe_note(find_pause(snapshot.audit, name), status.now) for name in paused},
        await fetch_quiet_by(link, status.workers),
    )


def _lines(status: _Status) -> Iterator[str]:
    """Whether jobs get answers, and if not, why, and what to do, as the page says it; then what else is of note."""
    health, fatal = status.notes.health, [finding for finding in status.findings if finding.is_fatal]
    yield f"No job is accepted: {'; '.join(map(str, fatal))}" if fatal else health["sentence"]
    for cause in health["causes"]:
        yield cause.line(status.overview.now)
    if health["more"]:
        yield f"- and {health['more']} more"
    if facts := "; ".join(filter(None, _facts(status))):
        yield f"{facts[0].upper()}{facts[1:]}."


def _facts(status: _Status) -> Iterator[str]:
    """What the lines of the page do not have. An empty text says nothing."""
    overview, notes = status.overview, status.notes
    if notes.health["causes"]:
        yield _describe_work(overview)
    if scheduled := sum(queue.scheduled for queue in overview.queues):
        yield f"{plural(scheduled, 'job')} scheduled for a retry"
    yield from _pauses(status)
    yield from (f"{model} waits: {limit}" for model, limit in status.limits.items())
    if status.refused:
        yield f"{describe_refused(status.refused)} (openfall keys refused)"
    if unreadable := overview.counters.get("unreadable", 0):
        yield f"{plural(unreadable, 'value')} in Redis could not be read (status --json lists them)"
    if accepted := ", ".join(finding.name for finding in status.findings if finding.accepted):
        yield f"accepted risks: {accepted}"


def _pauses(status: _Status) -> Iterator[str]:
    """The paused queues that no cause names: nothing waits there. A pattern pauses many at once, with one note."""
    pauses: dict[str, list[str]] = {}
    named = [cause.text for cause in status.notes.health["causes"]]
    for queue in status.overview.queues:
        if queue.paused and not any(queue.name in text for text in named):
            pauses.setdefault(status.notes.pauses.get(queue.name, ""), []).append(queue.name)
    for note, names in pauses.items():
        yield f"paused: {', '.join(names)}" + (f" ({note})" if note else "")


def _describe_work(status: FleetStatus) -> str:
    """How many jobs wait and run, and how many workers take jobs. A missing worker has a line of its own."""
    alive, ready = (sum(getattr(row, of) for row in status.workers) for of in ("alive", "takes_jobs"))
    started = sum(queue.started for queue in status.queues)
    oldest = f" (the oldest for {format_age(_oldest(status))})" if status.waiting else ""
    jobs = f"{describe_waiting(status.waiting) or 'no job waits'}{oldest}"
    jobs += f", {plural(started, 'job')} {'runs' if started == 1 else 'run'}" if started else ""
    return f"{jobs}; {ready} of {plural(alive, 'worker')} ready" if alive else jobs


def _json(status: _Status) -> dict[str, Any]:
    fleet_status, by_urgency = status.overview, dict[str, int]()
    for queue in fleet_status.queues:
        by_urgency[queue.urgency or "other"] = by_urgency.get(queue.urgency or "other", 0) + queue.waiting
    severity = status.severity
    return {
        "health": "ok" if severity is None else severity,
        "exit_code": HEALTH_CODES[severity],
        "problems": [{**asdict(problem), "runbook": problem.runbook} for problem in status.problems],
        "summary": " ".join(_lines(status)),
        "waiting": fleet_status.waiting,
        "oldest_seconds": _oldest(fleet_status),
        "started": sum(queue.started for queue in fleet_status.queues),
        "scheduled": sum(queue.scheduled for queue in fleet_status.queues),
        "workers_alive": sum(worker.alive for worker in fleet_status.workers),
        "workers_ready": sum(worker.takes_jobs for worker in fleet_status.workers),
        "quiet_by": status.notes.quiet_by,
        "refused_today": [asdict(row) for row in status.refused],
        "unreadable": [asdict(value) for value in status.unreadable],
        "away": [asdict(item) for item in status.away],
        "local_only": status.local_only_reason,
        "waiting_by_urgency": by_urgency,
        "limits": status.limits,
        "held_by_reason": status.held.by_reason,
        "held_waits_for": status.held.models,
        "dead_letters": status.dead_letters,
        "redis_findings": [asdict(finding) for finding in status.findings],
        "accepted_risks": [finding.name for finding in status.findings if finding.accepted],
        "catalog_difference": status.catalogs,
        **asdict(fleet_status),
    }


def _oldest(status: FleetStatus) -> float | None:
    return max((queue.oldest_seconds for queue in status.queues if queue.oldest_seconds is not None), default=None)
