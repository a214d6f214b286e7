"""Pauses and resumes queues, by name or by pattern."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from openfall.producers.operations.operator import Operator
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.state import operator_switches


async def pause_queues(operator: Operator, name: str, why: str = "") -> dict[str, bool]:
    """Stop claims from a queue, or from all that match a pattern; each with whether that changed it.

    Raises `UnknownName`."""
    matching = _matching(name, _all_queues(operator.catalog))
    changes = {queue: await operator_switches.pause_queue(operator.link, queue) for queue in matching}
    await operator.note("queue.pause", name, _effect(changes), why)
    return changes


async def resume_queues(operator: Operator, name: str) -> dict[str, bool]:
    """Allow claims again; each queue with whether that changed it. Raises `UnknownName`."""
    paused = await operator_switches.paused_queues(operator.link)
    known = _all_queues(operator.catalog)
    matching = [queue for queue in paused if fnmatchcase(queue, name)] or _matching(name, known)
    changes = {queue: await operator_switches.resume_queue(operator.link, queue) for queue in matching}
    await operator.note("queue.resume", name, _effect(changes))
    return changes


def _effect(changes: Mapping[str, bool]) -> str:
    """What of the queues has changed."""
    changed = sum(changes.values())
    if changed == len(changes):
        return f"{changed} {'queue' if changed == 1 else 'queues'}"
    return f"{changed} of {len(changes)} queues; the others were so already"


def _all_queues(catalog: Catalog) -> list[str]:
    return [catalog.queue(model, urgency) for model in catalog.models for urgency in catalog.urgency]


def _matching(name: str, known: list[str]) -> list[str]:
    matching = [queue for queue in known if fnmatchcase(queue, name)]
    if not matching:
        raise UnknownName("queue", name, known)
    return matching
