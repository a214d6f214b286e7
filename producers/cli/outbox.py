"""`openfall outbox`: what is still to be posted, and what was given up of late. No URL: it may hold a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import (
    config_option,
    json_option,
    opened,
    run,
)
from openfall.producers.cli.render import (
    age,
    print_line,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from openfall.router_core.state.outbox import DeadLetter, PendingEntry

TO_POST = ("of", "news", "tries", "next try", "why the last one failed")
GIVEN_UP = ("of", "news", "tries", "given up", "at", "why")


@click.command()
@config_option
@json_option
def outbox(config_path: Path | None, as_json: bool) -> None:
    """What is still to be posted (webhooks of jobs, notices of incidents), and what was given up of late."""
    waiting, given_up, now = run(_looked(config_path))
    if as_json:
        show_json(
            {
                "waiting": [{**asdict(one), **_told(one.entry)} for one in waiting],
                "given_up": [{**asdict(one), **_told(one.entry)} for one in given_up],
            }
        )
        return
    if waiting:
        show_table(TO_POST, _to_post(waiting, now))
    else:
        print_line("nothing is to be posted")
    if given_up:
        print_line("given up of late, the last one first:")
        show_table(GIVEN_UP, _lost(given_up, now))


async def _looked(config_path: Path | None) -> tuple[Sequence[PendingEntry], Sequence[DeadLetter], float]:
    from openfall.router_core.state import outbox

    async with opened(config_path) as llm:
        return (
            await outbox.list_pending(llm.store.connection),
            await outbox.list_dead_letters(llm.store.connection),
            await llm.store.server_time(),
        )


def _told(entry: str) -> dict[str, Any]:
    """Which job or incident an entry is of, what happened to it, and who is told (None: the job's own webhook)."""
    from openfall.router_core.state.outbox import JobEntry, NoticeEntry, parse_entry

    match parse_entry(entry):
        case JobEntry(job_id, kind):
            return {"of": f"job {job_id}", "kind": kind, "notifier": None}
        case NoticeEntry(notifier, incident, kind):
            return {"of": f"incident {incident}", "kind": kind, "notifier": notifier}
        case None:
            return {"of": entry, "kind": None, "notifier": None}


def _news(entry: str) -> tuple[str, str]:
    told = _told(entry)
    to = f", to {told['notifier']}" if told["notifier"] else ""
    return told["of"], f"{told['kind'] or '-'}{to}"


def _to_post(waiting: Sequence[PendingEntry], now: float) -> Iterator[tuple[object, ...]]:
    for one in waiting:
        yield *_news(one.entry), one.tries, f"in {age(max(0.0, one.due_at - now))}", one.why or "-"


def _lost(given_up: Sequence[DeadLetter], now: float) -> Iterator[tuple[object, ...]]:
    for one in given_up:
        yield *_news(one.entry), one.tries, f"{age(now - one.at)} ago", one.host or "-", one.why
