"""Tries webhooks and notices again at once, or drops them."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.producers.operations.job_selection import name_ids
from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state.errors import AmbiguousId
from openfall.router_core.state.outbox_orders import (
    OutboxVerb,
    failed_entries,
    id_of,
    order_entries,
    waiting_entries,
)

MAX_CANDIDATES = 8
"""Ids that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSelection:
    """Entries of the outbox: by their names, or the first letters of the ids of their jobs, batches or incidents.
    `failed`: all that failed for good; `waiting`: all that are pending."""

    names: tuple[str, ...] = ()
    failed: bool = False
    waiting: bool = False

    def __str__(self) -> str:
        groups = [name for name in ("failed", "waiting") if getattr(self, name)]
        return " ".join(groups) or name_ids(self.names)


@dataclass(frozen=True, slots=True)
class OutboxChange:
    """How many of the selected entries changed."""

    changed: int
    selected: int

    def __str__(self) -> str:
        return f"{self.changed:,} of {self.selected:,}"


async def find_entries(operator: Operator, selection: OutboxSelection) -> list[str]:
    """The selected entries. Raises `UnknownName`, `AmbiguousId`."""
    waiting = await waiting_entries(operator.link) if selection.names or selection.waiting else []
    failed = await failed_entries(operator.link) if selection.names or selection.failed else []
    known = list(dict.fromkeys([*waiting, *failed]))
    if not selection.names:
        return known
    return list(dict.fromkeys(entry for name in selection.names for entry in _find(name, known)))


def _find(name: str, known: list[str]) -> list[str]:
    """The entry of a name, or those of the one id that begins so."""
    if name in known:
        return [name]
    entries = [entry for entry in known if id_of(entry).startswith(name)]
    ids = sorted({id_of(entry) for entry in entries})
    if not ids:
        raise UnknownName("entry of the outbox", name, map(id_of, known[:MAX_CANDIDATES]))
    if len(ids) > 1 and name not in ids:
        raise AmbiguousId(name, ids[:MAX_CANDIDATES], more=len(ids) > MAX_CANDIDATES)
    return [entry for entry in entries if id_of(entry) == ids[0]]


async def order_outbox(operator: Operator, verb: OutboxVerb, selection: OutboxSelection) -> OutboxChange:
    """Try entries again at once, or drop them. Raises `UnknownName`, `AmbiguousId`."""
    entries = await find_entries(operator, selection)
    change = OutboxChange(await order_entries(operator.link, verb, entries), len(entries))
    subject = name_ids(list(dict.fromkeys(map(id_of, entries)))) if selection.names else str(selection)
    await operator.note(f"outbox.{verb}", subject, str(change))
    return change
