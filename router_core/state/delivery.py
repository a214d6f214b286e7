"""The worker's side of the queue: claim, settle, beat, reap, sweep."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from secrets import token_hex

from pydantic_core import to_json

from router_core.decide import Fall, Handoff, Later
from router_core.envelope import pack_attempt, pack_result
from router_core.outcome import Attempt
from router_core.result import Result, Status
from router_core.state.errors import UnknownJob
from router_core.state.intake import rq_text
from router_core.state.link import Link

LEASE = 10.0
"""Seconds that a claim lasts without a beat."""
BEAT = 2.0
PRESENCE = 10.0
CONDEMN = 3
"""Crashes after which a job is held as poisoned."""
RQ_WORKER_TTL = 60
"""Seconds after which rq forgets a worker that no longer beats."""


@dataclass(frozen=True, slots=True)
class Drained:
    """A queue that a worker drains, and the backends it may use for it with the slots each has fleet-wide."""

    queue: str
    backends: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One claim of one job. `token` fences it; `server_now` is the server's clock at the claim. Epoch seconds."""

    id: str
    token: str
    queue: str
    backend: str
    envelope: bytes
    deadline: float
    attempts: bytes
    deliveries: int
    crashes: int
    watched: bool
    accepted_at: float
    server_now: float

    @property
    def model(self) -> str:
        return self.queue.split(".")[1]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job put in with plain rq. `data` is what rq stored as its call."""

    id: str
    queue: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim brought. `due` is the moment of the next scheduled delivery (epoch seconds, 0: none).

    `left`: jobs stayed in the queues for want of a slot. `suspect`: let the calls in flight end, then claim again
    naming it; it runs alone.
    """

    state: str
    now: float
    due: float
    suspect: str
    left: bool
    deliveries: tuple[Delivery, ...]
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A job that waits in vain: `why` is overdue, cancelled or deleted (with rq's own tools)."""

    id: str
    deliveries: int
    why: str
    attempts: bytes
    deadline: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker is: its name in rq, its pool, the queues it drains, the backends it calls."""

    name: str
    pool: str
    queues: tuple[str, ...]
    backends: tuple[str, ...]


Next = Handoff | Later | Fall | Result | None
"""Where a settle moves a job: a result ends it; None puts it back as if it had never been delivered."""


@dataclass(frozen=True, slots=True)
class Settle:
    """One settle, ready to be sent, spooled and sent again: plain strings and bytes."""

    id: str
    token: str
    args: tuple[str | bytes | int, ...]


class Deliveries:
    """Carries the claims of one worker. `queues` in the order in which they are drained.

    A prompt is dropped when its job is answered, unless `keep_prompts`; a failed job's is kept as long as its result.
    """

    def __init__(self, link: Link, who: Identity, queues: Sequence[Drained], *, keep_prompts: bool = False) -> None:
        self._link = link
        self._worker = who.name
        self._pool = who.pool
        self._keep_prompts = keep_prompts
        self._told = ""
        self._queues: list[str] = []
        for drained in queues:
            backends = ",".join(f"{name}={slots}" for name, slots in drained.backends)
            self._queues += [drained.queue, backends]
        self._nonce = token_hex(4)  # not the name: a namesake, or a successor under the same name, counts from 1 too
        self._claims = 0
        self._answered = self._failed = 0

    async def claim(self, want: int, busy: int, drained_for: str = "") -> Claim:
        """Claim up to `want` jobs while `busy` calls are in flight here."""
        self._claims += 1
        reply = await self._link.script(
            "claim", self._worker, f"{self._nonce}.{self._claims:x}.", want, int(LEASE * 1000), busy,
            self._told, self._pool, drained_for, *self._queues,
        )  # fmt: skip
        state, now, due, suspect, left, jobs, foreign = reply
        self._told = state.decode()
        server_now = int(now) / 1000
        return Claim(
            state=self._told,
            now=server_now,
            due=float(due) / 1000,
            suspect=suspect.decode(),
            left=bool(left),
            deliveries=tuple(_delivery(row, server_now) for row in jobs),
            tickets=tuple(Ticket(row[0].decode(), row[1].decode(), row[2]) for row in foreign),
        )

    def settling(self, delivery: Delivery, attempt: Attempt | None, next_: Next, to_queue: str = "") -> Settle:
        """The settle of a delivery. `to_queue` is the queue that a hand-off or a later delivery goes to."""
        told_by_result = isinstance(next_, Result) and next_.answered  # a failed job may be asked for again
        line = b"" if attempt is None or told_by_result else pack_attempt(attempt)
        return Settle(delivery.id, delivery.token, (self._worker, *_verb(line, next_, to_queue), *self._keeps(next_)))

    def _keeps(self, next_: Next) -> tuple[int, ...]:
        if not isinstance(next_, Result):
            return ()
        return (int(self._keep_prompts or next_.status is Status.FAILED),)

    async def settle(self, settle: Settle) -> str:
        """Send a settle: 'settled', 'again' (it had arrived before), 'late' (refused by the fence) or 'gone'."""
        came = (await self._link.script("settle", settle.id, settle.token, *settle.args))[0].decode()
        if came == "settled" and settle.args[1] == "done":
            # rq's own counts of a worker; they go with its next beat rather than cost every settle a write.
            self._answered += settle.args[3] == Status.ANSWERED
            self._failed += settle.args[3] != Status.ANSWERED
        return str(came)

    async def emit(self, delivery: Delivery, pieces: Iterable[bytes]) -> bool:
        """Add pieces of an answer to the job's events. False: the delivery has lost its lease."""
        return bool(await self._link.script("emit", delivery.id, delivery.token, *pieces))

    async def beat(self, in_flight: Iterable[Delivery]) -> tuple[bool, list[str]]:
        """Renew presence and leases. Returns whether rq still knows the worker, and the ids that are no longer its."""
        calls = [part for delivery in in_flight for part in (delivery.id, delivery.token, delivery.backend)]
        answered, failed = self._answered, self._failed
        reply = await self._link.script(
            "beat", self._worker, int(PRESENCE * 1000), int(LEASE * 1000), RQ_WORKER_TTL,
            answered, failed, *calls,
        )  # fmt: skip
        self._answered -= answered
        self._failed -= failed
        return bool(reply[0]), [job_id.decode() for job_id in reply[2:]]

    async def reap(self) -> list[tuple[str, str, str]]:
        """Take over what dead workers held: (job id, queue, what came of it)."""
        reply = await self._link.script("reap", 256, CONDEMN)
        return [(row[0].decode(), row[1].decode(), row[2].decode()) for row in reply[1:]]

    async def sweep(self, clean: bool) -> tuple[float, list[Overdue]]:
        """Find what waits in vain. `clean` also forgets what rq's registries keep past its time."""
        reply = await self._link.script("sweep", 100, int(clean))
        return int(reply[0]) / 1000, [_overdue(row) for row in reply[1:]]

    async def ticket(self, ticket: Ticket, job_id: str, why_not: str, give_up: float) -> str:
        """End a job that plain rq put in, after seeing that the accepted job it asks for runs."""
        reply = await self._link.script(
            "ticket", ticket.id, "" if why_not else job_id, rq_text(why_not or str(UnknownJob(job_id))),
            self._worker, int(give_up * 1000),
        )  # fmt: skip
        return str(reply[0].decode())


def _verb(line: bytes, next_: Next, to_queue: str) -> tuple[str | bytes | int, ...]:
    match next_:
        case None:
            return ("back", line)
        case Handoff(at_front=at_front):
            return ("queue", line, to_queue, int(at_front))
        case Later(delay=delay):
            return ("later", line, to_queue, int(delay * 1000))
        case Fall(reason=reason, detail=detail):
            return ("hold", line, reason, detail)
        case Result():
            return ("done", line, *_ending(next_))


_RQ_STATUS = {
    Status.ANSWERED: "finished",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "stopped",
}


def _ending(result: Result) -> tuple[str | bytes | int, ...]:
    value = b""
    if result.answered:
        value = base64.b64encode(to_json({"status": result.status, "model": result.model}))
    why = rq_text(f"{result.error}: {result.detail}" if result.error else "")
    return (result.status, _RQ_STATUS[result.status], pack_result(result), value, why)


def _delivery(row: list[bytes], server_now: float) -> Delivery:
    return Delivery(
        row[0].decode(), row[1].decode(), row[2].decode(), row[3].decode(), row[4], int(row[5]) / 1000, row[6],
        int(row[7]), int(row[8]), row[9] != b"", int(row[10]) / 1000, server_now,
    )  # fmt: skip


def _overdue(row: list[bytes]) -> Overdue:
    return Overdue(row[0].decode(), int(row[1]), row[2].decode(), row[3], int(row[4]) / 1000)
