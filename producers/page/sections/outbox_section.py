"""The outbox: notifications that are pending, and those that failed for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.producers.outbox_tables import OutboxStatus
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.router_core.state.outbox import MAX_DEAD_LETTERS

MAX_ROWS = 100


def _status(snapshot: PageSnapshot) -> OutboxStatus:
    """That of the last reading; nothing of it is known before the first one."""
    return snapshot.sources.get("outbox") or OutboxStatus((), (), snapshot.now)


def waiting_context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    return {"pending": _status(snapshot).pending_table, "most": MAX_ROWS}


def failed_context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    return {"failed": _status(snapshot).failed_table, "most": MAX_ROWS, "kept": MAX_DEAD_LETTERS}
