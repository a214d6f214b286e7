"""Who paused a queue or switched local only on, when, and why, in words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase

from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.operator_switches import NO_REASON

READ_ENTRIES = 100
"""Lines of the audit log in which a pause or a switch is looked up: the last ones."""
SAME_DAY_SECONDS = 12 * 3600.0
"""An older moment is shown with its date."""


def find_pause(audit: Iterable[AuditEntry], queue: str) -> AuditEntry | None:
    """The last pause of a queue, by its name or by a pattern; `audit` has the newest line first."""
    return next((each for each in audit if each.action == "queue.pause" and fnmatchcase(queue, each.subject)), None)


def find_quiet(audit: Iterable[AuditEntry], worker: str) -> AuditEntry | None:
    """The last time at which a worker was kept from further jobs."""
    return next((each for each in audit if each.action == "worker.quiet" and each.subject == worker), None)


def find_switch(audit: Iterable[AuditEntry]) -> AuditEntry | None:
    """The last time at which local only was switched on."""
    return next((each for each in audit if each.action == "local_only.on"), None)


def describe_note(entry: AuditEntry | None, now: float, reason: str = "") -> str:
    """`mika, 04:37: 'guests'`. `reason`: what is known of it apart from the log. Empty: nothing is known."""
    if entry is None:
        return _quote(reason)
    form = "%H:%M" if now - entry.at < SAME_DAY_SECONDS else "%Y-%m-%d %H:%M"
    by = f"{entry.actor}, {datetime.fromtimestamp(entry.at).astimezone():{form}}"
    return ": ".join(filter(None, (by, _quote(reason or entry.why))))


def describe_author(entry: AuditEntry | None, reason: str = "") -> str:
    """`mika: 'guests'`, where the time stands beside it. Empty: nothing is known."""
    if entry is None:
        return _quote(reason)
    return ": ".join(filter(None, (entry.actor, _quote(reason or entry.why))))


def _quote(why: str) -> str:
    return f"'{why}'" if why else ""


def describe_switch(reason: str, audit: Iterable[AuditEntry], now: float | None = None) -> str:
    """Who switched local only on and why, and when if `now` is given. `reason`: what the switch keeps."""
    entry, own = find_switch(audit), "" if reason == NO_REASON else reason
    return (describe_author(entry, own) if now is None else describe_note(entry, now, own)) or reason
