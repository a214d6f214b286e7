"""`openfall outbox`: pending and failed notifications. It prints no URL, because a URL may contain a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.age import format_age
from openfall.producers.cli.options import common_options, with_client
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.router_core.state.outbox import DeadLetter, PendingEntry

PENDING_COLUMNS = ("of", "event", "tries", "next try", "last error")
DEAD_COLUMNS = ("of", "event", "tries", "failed", "host", "reason")


@click.command()
@common_options
def outbox(config_path: Path | None, as_json: bool) -> None:
    """Show pending notifications (webhooks of jobs, notices of incidents), and those that failed for good."""
    pending, dead_letters, now = with_client(config_path, _fetch)
    if as_json:
        show_json(
            {
                "waiting": [{**asdict(entry), **_entry_json(entry.entry)} for entry in pending],
                "given_up": [{**asdict(entry), **_entry_json(entry.entry)} for entry in dead_letters],
            }
        )
        return
    if pending:
        show_table(PENDING_COLUMNS, _pending_rows(pending, now))
    else:
        print_line("no notification is pending")
    if dead_letters:
        print_line("failed for good, the newest first:")
        show_table(DEAD_COLUMNS, _dead_rows(dead_letters, now))


async def _fetch(llm: AsyncOpenfall) -> tuple[Sequence[PendingEntry], Sequence[DeadLetter], float]:
    from openfall.router_core.state import outbox

    connection = llm.store.connection
    return (
        await outbox.list_pending(connection),
        await outbox.list_dead_letters(connection),
        await llm.store.server_time(),
    )


def _entry_json(entry: str) -> dict[str, Any]:
    """The job, batch or incident of an entry, its event, and its notifier (None: a webhook that its caller named)."""
    from openfall.router_core.state.outbox import ActionEntry, BatchEntry, JobEntry, NoticeEntry, parse_entry

    match parse_entry(entry):
        case JobEntry(job_id, kind):
            return {"of": f"job {job_id}", "kind": kind, "notifier": None}
        case BatchEntry(batch_id):
            return {"of": f"batch {batch_id}", "kind": "done", "notifier": None}
        case NoticeEntry(notifier, incident, kind):
            return {"of": f"incident {incident}", "kind": kind, "notifier": notifier}
        case ActionEntry(notifier, action):
            return {"of": f"action {action}", "kind": "done", "notifier": notifier}
        case None:
            return {"of": entry, "kind": None, "notifier": None}


def _entry_cells(entry: str) -> tuple[str, str]:
    values = _entry_json(entry)
    recipient = f", to {values['notifier']}" if values["notifier"] else ""
    return values["of"], f"{values['kind'] or '-'}{recipient}"


def _pending_rows(pending: Sequence[PendingEntry], now: float) -> Iterator[tuple[object, ...]]:
    for entry in pending:
        yield (
            *_entry_cells(entry.entry),
            entry.tries,
            f"in {format_age(max(0.0, entry.due_at - now))}",
            entry.why or "-",
        )


def _dead_rows(dead_letters: Sequence[DeadLetter], now: float) -> Iterator[tuple[object, ...]]:
    for entry in dead_letters:
        yield *_entry_cells(entry.entry), entry.tries, f"{format_age(now - entry.at)} ago", entry.host or "-", entry.why
