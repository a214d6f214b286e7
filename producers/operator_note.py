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


def find_switch(audit: Iterable[AuditEntry]) -> AuditEntry | None:
    """The last time at which local only was switched on."""
    return next((each for each in audit if each.action == "local_only.on"), None)


def describe_note(entry: AuditEntry | None, now: float, reason: str = "") -> str:
    """`mika, 04:37: 'guests'`. `reason`: what is known of it apart from the log. Empty: nothing is known."""
    why = reason or (entry.why if entry else "")
    quoted = f"'{why}'" if why else ""
    if entry is None:
        return quoted
    form = "%H:%M" if now - entry.at < SAME_DAY_SECONDS else "%Y-%m-%d %H:%M"
    by = f"{entry.actor}, {datetime.fromtimestamp(entry.at).astimezone():{form}}"
    return f"{by}: {quoted}" if quoted else by


def describe_switch(reason: str, audit: Iterable[AuditEntry], now: float) -> str:
    """Who switched local only on, when and why. `reason`: what the switch keeps."""
    entry = find_switch(audit)
    return describe_note(entry, now, "" if reason == NO_REASON else reason) or reason
