"""The grid of queues: pools and their models down, urgencies across, coloured by age against the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from openfall.producers.operator_note import describe_note, find_pause
from openfall.producers.page.page_snapshot import PageSnapshot, Source
from openfall.producers.page.sections.depth_line import DepthLine, depth_line
from openfall.router_core.state.depth_history import DepthHistory, DepthSample, fetch_depth_history
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.state.keys import model_of, pool_of
from openfall.router_core.vocabulary import Urgency

HISTORY = Source("depths", lambda link, _catalog: fetch_depth_history(link), every_seconds=20.0)
MAX_MODELS = 12
"""Models of a pool that the grid names: those that wait longest."""
MAX_PAUSES = 12
SOON_SHARE = 0.8
"""A job that has waited for this share of its target is nearly late."""


class Lateness(StrEnum):
    EMPTY = "empty"
    IN_TIME = "in-time"
    SOON = "soon"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Cell:
    """Some queues of one urgency. `oldest_at`: when their oldest waiting job was accepted. `paused`: the names of
    those of `queues` that are."""

    waiting: int = 0
    oldest_at: float | None = None
    started: int = 0
    scheduled: int = 0
    paused: tuple[str, ...] = ()
    queues: int = 0
    lateness: Lateness = Lateness.EMPTY


@dataclass(frozen=True, slots=True)
class GridRow:
    """A pool, or a model of it. `pattern`: the queues of the row, as an operator names them. `lines`: the last hour of
    each cell, for a pool."""

    name: str
    pattern: str
    cells: tuple[Cell, ...]
    is_local: bool = False
    models: tuple[GridRow, ...] = ()
    others: int = 0
    lines: tuple[DepthLine | None, ...] = ()

    @property
    def paused(self) -> tuple[str, ...]:
        """The paused queues of the row."""
        return tuple(name for cell in self.cells for name in cell.paused)

    @property
    def resumed(self) -> str:
        """The queues that its button resumes, as an operator names them."""
        return self.paused[0] if len(self.paused) == 1 else self.pattern

    @property
    def is_active(self) -> bool:
        return any(cell.waiting or cell.started or cell.scheduled or cell.paused for cell in self.cells)


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    catalog, status = snapshot.catalog, snapshot.status
    targets = {urgency: catalog.urgency[urgency].start_within for urgency in Urgency}
    by_pool: dict[str, list[QueueStatus]] = {pool: [] for pool in catalog.pools}
    others = []
    for queue in status.queues:
        pool = pool_of(queue.name)
        if queue.urgency is None or pool not in by_pool:
            others.append(queue)
        else:
            by_pool[pool].append(queue)
    history: DepthHistory | None = snapshot.sources.get(HISTORY.name)
    samples = () if history is None else history.hour
    rows = [
        _pool(pool, queues, targets, status.queues_at, is_local=catalog.pools[pool].local, samples=samples)
        for pool, queues in by_pool.items()
        if queues or catalog.models_of(pool)
    ]
    return {
        "targets": targets,
        "rows": rows,
        "others": [queue for queue in others if queue.waiting or queue.started],
        "pauses": _pauses(snapshot),
        "read_at": status.queues_at if status.queues_age_seconds > OLD_READING_SECONDS else None,
    }


def _pauses(snapshot: PageSnapshot) -> list[tuple[str, str]]:
    """The paused queues, each with who paused it, when and why."""
    paused = [queue.name for queue in snapshot.status.queues if queue.paused]
    notes = {name: describe_note(find_pause(snapshot.audit, name), snapshot.now) for name in paused[:MAX_PAUSES]}
    return list(notes.items())


def _pool(  # noqa: PLR0913 - a pool and its past
    pool: str,
    queues: Sequence[QueueStatus],
    targets: Mapping[Urgency, float],
    read_at: float,
    *,
    is_local: bool,
    samples: Sequence[DepthSample],
) -> GridRow:
    by_model: dict[str, list[QueueStatus]] = {}
    for queue in queues:
        by_model.setdefault(model_of(queue.name), []).append(queue)
    models = [
        GridRow(model, f"{pool}.{model}.*", _cells(of_model, targets, read_at))
        for model, of_model in sorted(by_model.items())
    ]
    active = sorted((row for row in models if row.is_active), key=lambda row: (_first(row), row.name))
    return GridRow(
        pool,
        f"{pool}.*",
        _cells(queues, targets, read_at),
        is_local,
        tuple(active[:MAX_MODELS]),
        max(0, len(active) - MAX_MODELS),
        tuple(depth_line(samples, pool, urgency, target) for urgency, target in targets.items()),
    )


def _first(row: GridRow) -> float:
    """When the oldest job of a row was accepted: rows with nothing that waits come last."""
    return min((cell.oldest_at for cell in row.cells if cell.oldest_at is not None), default=float("inf"))


def _cells(queues: Iterable[QueueStatus], targets: Mapping[Urgency, float], read_at: float) -> tuple[Cell, ...]:
    by_urgency: dict[Urgency, list[QueueStatus]] = {urgency: [] for urgency in targets}
    for queue in queues:
        if queue.urgency is not None:
            by_urgency[queue.urgency].append(queue)
    return tuple(_cell(by_urgency[urgency], target, read_at) for urgency, target in targets.items())


def _cell(queues: Sequence[QueueStatus], target: float, read_at: float) -> Cell:
    ages = [queue.oldest_seconds for queue in queues if queue.oldest_seconds is not None]
    oldest = max(ages, default=None)
    return Cell(
        waiting=sum(queue.waiting for queue in queues),
        oldest_at=None if oldest is None else read_at - oldest,
        started=sum(queue.started for queue in queues),
        scheduled=sum(queue.scheduled for queue in queues),
        paused=tuple(queue.name for queue in queues if queue.paused),
        queues=len(queues),
        lateness=_lateness(oldest, target),
    )


def _lateness(oldest: float | None, target: float) -> Lateness:
    if oldest is None:
        return Lateness.EMPTY
    if oldest > target:
        return Lateness.LATE
    return Lateness.SOON if oldest > SOON_SHARE * target else Lateness.IN_TIME


OLD_READING_SECONDS = 10.0
"""After this the page says how old the reading of the queues is."""
