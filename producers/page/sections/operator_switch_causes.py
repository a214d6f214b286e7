"""What operators have switched: paused queues, and the switch that keeps jobs in the local pools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from openfall.producers.amount_text import describe_waiting
from openfall.producers.operator_note import describe_author, describe_switch, find_pause, find_switch
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.model_calls import LOCAL_ONLY, PAUSED
from openfall.producers.runbook import RunbookSection
from openfall.producers.shell_command import shell_command
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.vocabulary import HoldReason

SilentRoles = Mapping[str, Mapping[str, str]]
"""Each role that gets no answer, and what keeps calls from each model of its chain."""
MAX_NAMED = 3


def stops(obstacle: str, silent: SilentRoles) -> FleetHealth:
    """FAILING if it keeps the calls of a role that gets no answer."""
    is_cause = any(obstacle in obstacles.values() for obstacles in silent.values())
    return FleetHealth.FAILING if is_cause else FleetHealth.IMPAIRED


def operator_switch_causes(silent: SilentRoles, snapshot: PageSnapshot) -> Iterator[Cause]:
    yield from _pauses(silent, snapshot)
    if snapshot.local_only is None:
        return
    any_local = any(map(snapshot.catalog.is_local, snapshot.catalog.models))
    entry = find_switch(snapshot.audit)
    first = f"Ask {entry.actor} before you switch it off" if entry else "Switch it off to end it"
    is_configured = snapshot.catalog.local_only
    note = snapshot.local_only if is_configured else describe_switch(snapshot.local_only, snapshot.audit)
    yield Cause(
        text=f"Local only: no job leaves the local pools ({note})",
        health=stops(LOCAL_ONLY, silent) if any_local else FleetHealth.FAILING,
        since=None if entry is None else entry.at,
        advice="Set privacy: {local_only: no} in the configuration to end it"
        if is_configured
        else f"{first}. Refused requests (HTTP 403) do not return: their callers must send them again",
        remedy="" if is_configured else "openfall local-only off",
        action="" if is_configured else "local-only-off",
        buttons=(("", "Switch off local only"),),
        section="switch",
        runbook=RunbookSection.LOCAL_ONLY,
    )


def _pauses(silent: SilentRoles, snapshot: PageSnapshot) -> Iterator[Cause]:
    """The paused queues whose jobs wait or are held, a line for each pause."""
    matters = stops(PAUSED, silent) is FleetHealth.FAILING or HoldReason.PAUSED in snapshot.held.by_reason
    by_entry: dict[AuditEntry | str, list[QueueStatus]] = {}
    for queue in snapshot.status.queues:
        if queue.paused and (queue.waiting or matters):
            by_entry.setdefault(find_pause(snapshot.audit, queue.name) or queue.name, []).append(queue)
    for entry, queues in by_entry.items():
        yield _of_pause(None if isinstance(entry, str) else entry, queues, stops(PAUSED, silent))


def _of_pause(entry: AuditEntry | None, queues: Sequence[QueueStatus], health: FleetHealth) -> Cause:
    names = ", ".join(queue.name for queue in queues[:MAX_NAMED])
    names += f" and {len(queues) - MAX_NAMED} more" if queues[MAX_NAMED:] else ""
    note = describe_author(entry)
    text = f"The queue {names} is paused" if len(queues) == 1 else f"The queues {names} are paused"
    subject = queues[0].name if len(queues) == 1 or entry is None else entry.subject
    return Cause(
        text=f"{text}{f' ({note})' if note else ''}",
        health=health,
        since=None if entry is None else entry.at,
        effect=describe_waiting(sum(queue.waiting for queue in queues)),
        advice="Resume to end it",
        remedy=shell_command("openfall queues resume", subject),
        action="resume",
        buttons=((subject, f"Resume {subject}"),),
        section="queues",
        runbook=RunbookSection.QUEUE_PAUSED,
    )
