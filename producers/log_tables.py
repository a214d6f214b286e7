"""What operators and breakers did, and results that wait: for `openfall audit`, `breakers`, `inbox` and the page."""

from __future__ import annotations

from collections.abc import Iterable

from openfall.producers.breaker_names import describe_breaker, display_name
from openfall.producers.duration_text import format_age, format_time
from openfall.producers.table import Table
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.breakers import BreakerChange, BreakerStatus
from openfall.router_core.state.inbox import InboxSize

INBOX_COLUMNS = ("inbox", "results", "oldest of")
AUDIT_COLUMNS = ("when", "actor", "via", "action", "subject", "effect", "reason")
BREAKER_COLUMNS = ("breaker", "state", "since", "opened", "cause", "why")
HISTORY_COLUMNS = ("when", "breaker", "from", "to", "why")


def inbox_table(inboxes: Iterable[InboxSize]) -> Table:
    rows = [(inbox.name, inbox.entries, format_time(inbox.oldest_at)) for inbox in inboxes]
    return Table(columns=INBOX_COLUMNS, rows=rows, if_empty="no inbox has results that no program has acknowledged")


def audit_table(entries: Iterable[AuditEntry]) -> Table:
    rows = [(format_time(e.at), e.actor, e.via, e.action, e.subject, e.effect, e.why or "-") for e in entries]
    return Table(columns=AUDIT_COLUMNS, rows=rows, if_empty="the audit log is empty")


def breaker_table(breakers: Iterable[BreakerStatus], catalog: Catalog, now: float) -> Table:
    rows = [
        (
            display_name(catalog, row.target),
            describe_breaker(row, now),
            format_age(now - row.since) if row.since else "-",
            row.open_count,
            row.cause or "-",
            row.why,
        )
        for row in breakers
    ]
    return Table(columns=BREAKER_COLUMNS, rows=rows, if_empty="every breaker is closed, and none was ever open")


def breaker_history_table(changes: Iterable[BreakerChange], catalog: Catalog) -> Table:
    rows = [
        (format_time(change.at), display_name(catalog, change.target), change.before, change.after, change.why)
        for change in changes
    ]
    return Table(columns=HISTORY_COLUMNS, rows=rows, if_empty="no breaker has ever changed")
