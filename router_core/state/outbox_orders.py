"""Orders of an operator about entries of the outbox: to try them at once, or to drop them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_number, read_text
from openfall.router_core.state.outbox import (
    ActionEntry,
    BatchEntry,
    JobEntry,
    NoticeEntry,
    list_dead_letters,
    parse_entry,
)
from openfall.router_core.state.redis_connection import RedisConnection

CHUNK = 500
"""Entries that one script changes."""


class OutboxVerb(StrEnum):
    RETRY = "retry"
    DROP = "drop"


def id_of(entry: str) -> str:
    """The id of the job, batch, incident or action of an entry; an unknown entry itself."""
    match parse_entry(entry):
        case JobEntry(job_id=id_) | BatchEntry(batch_id=id_) | NoticeEntry(incident=id_) | ActionEntry(action=id_):
            return id_
    return entry


async def waiting_entries(link: RedisConnection) -> list[str]:
    """The pending entries, the next one first."""
    return [read_text(entry) for entry in await link.command("ZRANGE", keys.OUTBOX, 0, -1)]


async def failed_entries(link: RedisConnection) -> list[str]:
    """The entries that failed for good, the newest first."""
    return list(dict.fromkeys(letter.entry for letter in await list_dead_letters(link)))


async def order_entries(link: RedisConnection, verb: OutboxVerb, entries: Sequence[str]) -> int:
    """Try entries at once, or drop them: how many changed. An entry that failed for good is pending again after a
    retry, with all of its tries. One that is being delivered now is not tried a second time."""
    changed = 0
    for first in range(0, len(entries), CHUNK):
        arguments = {"verb": verb, "entries": entries[first : first + CHUNK]}
        changed += read_number(await link.script("outbox_order", arguments))
    return changed
