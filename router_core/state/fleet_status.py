"""The status of the fleet: its queues, its workers, and what it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number, read_text
from openfall.router_core.state.keys import pool_of
from openfall.router_core.state.last_workers import LastWorker, read_last_workers
from openfall.router_core.state.lost_writes import LostWrites, read_lost_writes
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.unreadable_notes import note_unreadable
from openfall.router_core.vocabulary import Urgency

MAX_PRODUCERS = 16
"""Jobs of a queue that are compared for the oldest."""
_URGENCIES: Mapping[str, Urgency] = {urgency.value: urgency for urgency in Urgency}


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue: how many jobs wait, are started, and are scheduled; and the age of the oldest that waits, or None."""

    name: str
    waiting: int
    oldest_seconds: float | None
    started: int
    scheduled: int
    paused: bool

    @property
    def urgency(self) -> Urgency | None:
        """None: a queue of plain rq."""
        return _URGENCIES.get(self.name.rpartition(".")[2])


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker as rq knows it. `alive`: its presence has not expired. `catalog`: the digest of its catalog; empty: it
    names none."""

    name: str
    state: str
    alive: bool
    queues: tuple[str, ...]
    host: str
    pid: int
    heartbeat_age_seconds: float | None
    answered: int
    failed: int
    catalog: str = ""
    shortage: str = ""
    """What its process lacks, and how many slots it takes meanwhile."""
    quiet: bool = False
    """An operator keeps it from claiming jobs."""
    log: str = ""
    """The file of its log, or the command that shows it; empty: unknown."""

    @property
    def takes_jobs(self) -> bool:
        """Whether it claims jobs. A quiet worker lets its calls end, and claims none."""
        return self.alive and not self.quiet

    @property
    def condition(self) -> str:
        """`gone`, `quiet`, what it lacks, or what rq says of it: `idle`, `busy`."""
        if not self.alive:
            return "gone"
        return "quiet" if self.quiet else self.shortage or self.state


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """One process of the HTTP gateway that lives. `catalog`: as that of a worker."""

    name: str
    catalog: str


@dataclass(frozen=True, slots=True)
class MemoryRefusals:
    """Jobs are refused for want of memory, `since` a moment in epoch seconds. `refused`: how many were."""

    since: float
    maxmemory_bytes: int
    refused: int


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The fleet at `now`, on the server's clock. `counters` are totals since the store was empty. `falling`: jobs that
    wait for the degrade worker.

    `memory_pressure` is why no job is accepted now; None: jobs are accepted.
    """

    now: float
    queues: tuple[QueueStatus, ...]
    workers: tuple[WorkerStatus, ...]
    falling: int
    held: int
    suspended: bool
    memory_pressure: str | None
    counters: Mapping[str, int]
    queues_age_seconds: float = 0.0
    """How old the reading of the queues is: the ages of their jobs are of that moment."""
    memory_refusals: MemoryRefusals | None = None
    """None: jobs are accepted, or nothing is known of their refusals."""
    last_workers: tuple[LastWorker, ...] = ()
    """The last workers of the pools that no live worker serves, the one that beat last first."""
    gateways: tuple[GatewayStatus, ...] = ()
    lost_writes: LostWrites | None = None
    """The last loss of the last day; None: none is known."""

    @property
    def members(self) -> tuple[WorkerStatus | GatewayStatus, ...]:
        """Every process that reads a configuration of its own."""
        return (*self.workers, *self.gateways)

    @property
    def queues_at(self) -> float:
        """When the queues were read."""
        return self.now - self.queues_age_seconds

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self.queues)

    @property
    def unserved(self) -> tuple[QueueStatus, ...]:
        """Queues with waiting jobs of which no worker takes jobs."""
        served = {name for worker in self.workers if worker.takes_jobs for name in worker.queues}
        return tuple(queue for queue in self.queues if queue.waiting and queue.name not in served)


async def fetch_status(link: RedisConnection, known: FleetStatus | None = None) -> FleetStatus:
    """Fetch the status, in one round trip. `known`: an earlier one, whose queues are not read again, only whether they
    are paused."""
    reply = await link.script("fleet_status", {"max_producers": None if known else MAX_PRODUCERS})
    now, queues, paused_names, workers, falling, held, suspended, pressed, counters, *rest = reply
    refusals, last, gateways, lost = rest
    at = read_moment(now)
    with link.notes.reading(keys.PAUSED):
        paused = frozenset(map(read_text, paused_names))
    if known is None:
        rows = tuple(sorted((_queue(row, at, paused) for row in queues), key=lambda queue: queue.name))
    else:
        rows = tuple(replace(queue, paused=queue.name in paused) for queue in known.queues)
    with link.notes.reading(keys.COUNTERS):
        totals = {name: read_number(value) for name, value in pairs(counters).items()}
    listed = tuple(sorted(_workers(link, workers, at), key=lambda worker: worker.name))
    served = {pool_of(queue) for worker in listed if worker.alive for queue in worker.queues}
    with link.notes.reading(keys.LAST_WORKERS):
        last_workers = read_last_workers(pairs(last), served)
    with link.notes.reading(keys.LOST_WRITES):
        lost_writes = read_lost_writes(lost)
    return FleetStatus(
        now=at,
        queues=rows,
        workers=listed,
        falling=falling,
        held=held,
        suspended=bool(suspended),
        memory_pressure=read_text(pressed) or None,
        counters=totals,
        queues_age_seconds=at - known.queues_at if known else 0.0,
        memory_refusals=_refusals(link, refusals, totals),
        last_workers=last_workers,
        gateways=tuple(_gateways(link, gateways)),
        lost_writes=lost_writes,
    )


def _refusals(link: RedisConnection, packed: bytes, counters: Mapping[str, int]) -> MemoryRefusals | None:
    """What Redis has of the refusals that last."""
    with link.notes.reading(keys.MEMORY_PRESSURE_SINCE):
        words = read_text(packed).split()
        if len(words) != 3:
            if packed:
                note_unreadable("has another shape")
            return None
        since, maxmemory, before = (read_number(word.encode()) for word in words)
    return MemoryRefusals(since / 1000, maxmemory, max(0, counters.get("refused_memory", 0) - before))


async def fetch_pulse(link: RedisConnection) -> bytes:
    """A text that changes at once when something goes wrong in the fleet, or is well again."""
    return bytes(await link.script("fleet_pulse", {}))


def _queue(row: Sequence[Any], now: float, paused: frozenset[str]) -> QueueStatus:
    text, waiting, accepted, started, scheduled = row
    name, since = read_text(text), read_moment(accepted)
    return QueueStatus(name, waiting, max(0.0, now - since) if since else None, started, scheduled, name in paused)


def _workers(link: RedisConnection, rows: Sequence[Any], now: float) -> Iterator[WorkerStatus]:
    """Those that rq has not forgotten."""
    for name, alive, fields in rows:
        with link.notes.reading(keys.RQ_WORKER + read_text(name)):
            worker = _worker(read_text(name), pairs(fields), now, alive=bool(alive))
        if worker is not None:
            yield worker


def _gateways(link: RedisConnection, rows: Sequence[Any]) -> Iterator[GatewayStatus]:
    for packed_name, catalog in sorted(rows):
        name = read_text(packed_name)
        with link.notes.reading(keys.GATEWAY_CATALOG + name):
            yield GatewayStatus(name, read_text(catalog))


async def fetch_worker(link: RedisConnection, key: str, alive: set[str], now: float) -> WorkerStatus | None:
    """The worker of an rq key. None: rq has forgotten it, and only its name is left."""
    fields = pairs(await link.command("HGETALL", key)) if key.startswith(keys.RQ_WORKER) else {}
    name = key.removeprefix(keys.RQ_WORKER)
    with link.notes.reading(key):
        return _worker(name, fields, now, alive=name in alive)


def _worker(name: str, fields: Mapping[str, bytes], now: float, *, alive: bool) -> WorkerStatus | None:
    if not fields:
        return None
    return WorkerStatus(
        name=name,
        state=read_text(fields.get("state", b"?")),
        alive=alive,
        queues=tuple(filter(None, read_text(fields.get("queues")).split(","))),
        host=read_text(fields.get("hostname")),
        pid=read_number(fields.get("pid")),
        heartbeat_age_seconds=_seconds_since(read_text(fields.get("last_heartbeat")), now),
        answered=read_number(fields.get("successful_job_count")),
        failed=read_number(fields.get("failed_job_count")),
        catalog=read_text(fields.get(keys.CATALOG_FIELD)),
        shortage=read_text(fields.get(keys.SHORTAGE_FIELD)),
        quiet=bool(fields.get(keys.QUIET_FIELD)),
        log=read_text(fields.get(keys.LOG_FIELD)),
    )


def _seconds_since(at: str, now: float) -> float | None:
    try:
        return max(0.0, now - datetime.fromisoformat(at).timestamp())
    except (ValueError, OverflowError):
        if at:
            note_unreadable("is no time")
        return None
