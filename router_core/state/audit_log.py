"""The audit log: what operators did, through what, and why. A bounded stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import to_json

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_object, read_text
from openfall.router_core.state.redis_connection import RedisConnection, pairs

MAX_ENTRIES = 10_000
"""Lines that are kept."""
MAX_TEXT = 500
"""Characters of a text of a line: a reason may come from a form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line. `actor` did `action` to `subject`, `via` the command line (`cli`), the page or the HTTP API (`http`).
    `effect`: what it did."""

    actor: str
    via: str
    action: str
    subject: str
    effect: str = ""
    why: str = ""
    at: float = 0.0
    id: str = ""


async def write_entry(link: RedisConnection, entry: AuditEntry, notifiers: Iterable[str] = ()) -> str:
    """Append a line; its id. Its time is that of the server. Each of the notifiers is sent a notice about it."""
    fields = {
        name: value[:MAX_TEXT] for name, value in asdict(entry).items() if isinstance(value, str) and name != "id"
    }
    packed = to_json(fields)
    arguments = {"max_entries": MAX_ENTRIES, "notifiers": list(notifiers)}
    return read_text(await link.script("audit_entry", arguments, packed))


async def read_entry(link: RedisConnection, entry_id: str) -> AuditEntry | None:
    """One line. None: it is no longer kept."""
    return next(iter(_entries(link, await link.command("XRANGE", keys.AUDIT_LOG, entry_id, entry_id))), None)


async def read_entries(link: RedisConnection, limit: int, since: float | None = None) -> list[AuditEntry]:
    """The last lines, newest first. `since`: epoch seconds."""
    start = "-" if since is None else str(max(0, int(since * 1000)))
    return _entries(link, await link.command("XREVRANGE", keys.AUDIT_LOG, "+", start, "COUNT", limit))


def _entries(link: RedisConnection, rows: Sequence[Any]) -> list[AuditEntry]:
    with link.notes.reading(keys.AUDIT_LOG):
        return list(_read_entries(rows))


def _read_entries(rows: Sequence[Any]) -> Iterator[AuditEntry]:
    for id_, values in rows:
        fields = read_object(pairs(values).get("entry"))
        if fields is not None:
            texts = {name: str(fields.get(name, "")) for name in ("actor", "via", "action", "subject", "effect", "why")}
            yield AuditEntry(**texts, at=read_moment(id_.partition(b"-")[0]), id=id_.decode())
