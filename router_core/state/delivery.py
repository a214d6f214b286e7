"""The worker's side of the queue: claim, settle, emit, beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, NamedTuple

from router_core.breaker import BreakerPolicy, credential_target, target
from router_core.open_fall import HoldReason
from router_core.result import Status
from router_core.state.errors import UnknownJob
from router_core.state.intake import rq_text
from router_core.state.keys import model_of
from router_core.state.link import Link
from router_core.state.settling import Ending, Settle, Settling, bucket_of, rules_of

LEASE = 10.0
"""Seconds that a claim lasts without a beat."""
BEAT = 2.0
PRESENCE = 10.0
PROBE_GRACE = 5.0
"""Seconds that a probe's lease lasts beyond its timeout."""
ACCOUNT_EVERY = 4
"""Jobs after which a worker's claim looks who was kept waiting by them."""
RQ_WORKER_TTL = 60
"""Seconds after which rq forgets a worker that no longer beats."""


class Seat(NamedTuple):
    """A backend that a queue's jobs may be called at, its slots fleet-wide, and the name of its key (empty: none).

    Of the slots `reserved` are for interactive jobs alone.
    """

    backend: str
    slots: int
    credential: str = ""
    reserved: int = 0

    def __str__(self) -> str:
        """As the scripts read it."""
        return f"{self.backend}={self.slots}={self.credential}={self.reserved}"


@dataclass(frozen=True, slots=True)
class Drained:
    """A queue that a worker drains, and where. `probe` is the longest that a health prompt may take there, in seconds:
    loading the model included. `share` is the part of its pool's claims that its urgency gets at least."""

    queue: str
    seats: tuple[Seat, ...]
    probe: float = 30.0
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Fell:
    """How a delivered job fell, as its record has it. `at` in epoch seconds; `falls` counts the last one too;
    `stand_in` is the model outside its chain that it was handed to, or empty."""

    reason: HoldReason
    why: str
    at: float
    falls: int
    strikes: int
    stand_in: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One claim of one job. `token` fences it; `server_now` is the server's clock at the claim. Epoch seconds.

    The epochs are those of the breakers of its model and its key; `answers` are those kept with the job so far.
    """

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
    epoch: str
    credential_epoch: str
    answers: tuple[bytes, ...]
    server_now: float
    fell: Fell | None = None
    """Only of a job that is delivered because it fell: to the degrade worker, or to a stand-in."""

    @property
    def interactive(self) -> bool:
        return self.queue.endswith(".interactive")

    @property
    def model(self) -> str:
        """The model of its queue; empty in `degrade`."""
        return model_of(self.queue)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job put in with plain rq. `data` is what rq stored as its call."""

    id: str
    queue: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Probe:
    """A health prompt to send: the one of the whole fleet for this breaker, as long as its lease lasts."""

    target: str
    backend: str
    model: str
    token: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim brought. `due` is the moment of the next scheduled delivery or probe (epoch seconds, 0: none).

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
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker is: its name in rq, its pool, the queues it drains, the backends it calls.

    `local`: its pool never leaves the machines of its owner.
    """

    name: str
    pool: str
    queues: tuple[str, ...]
    backends: tuple[str, ...]
    local: bool = True


class Deliveries:
    """Carries the claims of one worker. `queues` in the order in which they are drained."""

    def __init__(
        self,
        link: Link,
        who: Identity,
        queues: Sequence[Drained],
        *,
        policy: BreakerPolicy | None = None,
        keep_prompts: bool = False,
    ) -> None:
        self._link = link
        self._who = who
        self._told = ""
        policy = policy or BreakerPolicy()
        self._settling = Settling(who.name, rules_of(policy), bucket_of(policy), keep_prompts)
        self.reserved = sum(dict((seat.backend, seat.reserved) for seat in _seats(queues)).values())
        """Slots that are kept for interactive jobs, of all its backends."""
        self._queues: list[str | int] = []
        for drained in queues:
            seats = ",".join(str(_seat(seat)) for seat in drained.seats)
            self._queues += [drained.queue, seats, int((drained.probe + PROBE_GRACE) * 1000)]
        self._places, self._turns = _places(queues), _turns(queues)
        self._nonce = token_hex(4)  # not the name: a namesake, or a successor under the same name, counts from 1 too
        self._claims = self._unaccounted = 0
        self._answered = self._failed = 0

    async def claim(self, want: int, busy: int, drained_for: str = "", others: int | None = None) -> Claim:
        """Claim up to `want` jobs while `busy` calls are in flight here; of them so many `others` than interactive ones
        (None: all may be)."""
        self._claims += 1
        reply = await self._link.script(
            "claim", self._who.name, f"{self._nonce}.{self._claims:x}.", want, int(LEASE * 1000), busy,
            self._told, self._who.pool, drained_for, int(self._who.local), self._places, self._turns,
            self._unaccounted, ACCOUNT_EVERY, want if others is None else others, *self._queues,
        )  # fmt: skip
        state, now, due, suspect, left, jobs, foreign, probes = reply
        self._told = state.decode()
        self._unaccounted += len(jobs)
        self._unaccounted *= self._unaccounted < ACCOUNT_EVERY
        server_now = int(now) / 1000
        return Claim(
            state=self._told,
            now=server_now,
            due=float(due) / 1000,
            suspect=suspect.decode(),
            left=bool(left),
            deliveries=tuple(_delivery(row, server_now) for row in jobs),
            tickets=tuple(Ticket(row[0].decode(), row[1].decode(), row[2]) for row in foreign),
            probes=tuple(Probe(*(part.decode() for part in row)) for row in probes),
        )

    def settling(self, delivery: Delivery, ending: Ending) -> Settle:
        """The settle of a delivery."""
        return self._settling.of(delivery.id, delivery.token, ending)

    async def settle(self, settle: Settle) -> Settled:
        """Send a settle."""
        reply = await self._link.script("settle", settle.id, settle.token, *settle.args)
        came = reply[0].decode()
        if came == "settled" and settle.status is not None:
            # rq's own counts of a worker; they go with its next beat rather than cost every settle a write.
            self._answered += settle.status == Status.ANSWERED
            self._failed += settle.status != Status.ANSWERED
        return Settled(came, bool(reply[2]))

    async def emit(self, delivery: Delivery, pieces: Iterable[bytes]) -> bool:
        """Add pieces of an answer to the job's events. False: the delivery has lost its lease."""
        return bool(await self._link.script("emit", delivery.id, delivery.token, *pieces))

    async def beat(self, in_flight: Iterable[Delivery]) -> tuple[bool, list[str]]:
        """Renew presence and leases. Returns whether rq still knows the worker, and the ids that are no longer its."""
        calls = [part for delivery in in_flight for part in (delivery.id, delivery.token, delivery.backend)]
        answered, failed = self._answered, self._failed
        reply = await self._link.script(
            "beat", self._who.name, int(PRESENCE * 1000), int(LEASE * 1000), RQ_WORKER_TTL,
            answered, failed, *calls,
        )  # fmt: skip
        self._answered -= answered
        self._failed -= failed
        return bool(reply[0]), [job_id.decode() for job_id in reply[2:]]

    async def ticket(self, ticket: Ticket, job_id: str, why_not: str, give_up: float) -> str:
        """End a job that plain rq put in, after seeing that the accepted job it asks for runs."""
        reply = await self._link.script(
            "ticket", ticket.id, "" if why_not else job_id, rq_text(why_not or str(UnknownJob(job_id))),
            self._who.name, int(give_up * 1000),
        )  # fmt: skip
        return str(reply[0].decode())


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a settle: 'settled', 'again' (it had arrived before), 'late' (refused by the fence) or 'gone'.

    `opened`: what it told of its call opened a breaker.
    """

    came: str
    opened: bool = False


_FIRST, _WIDTH = 16, 3
"""The index of the first queue in the ARGV of a claim, and how many belong to each."""


def _places(queues: Sequence[Drained]) -> str:
    """Where each breaker can be probed: a model at a backend there, a key at each backend that has it."""
    places: dict[tuple[str, str], int] = {}
    for n, drained in enumerate(queues):
        model = model_of(drained.queue)
        for seat in map(_seat, drained.seats if model else ()):
            at = _FIRST + n * _WIDTH
            places.setdefault((target(seat.backend, model), seat.backend), at)
            if seat.credential:
                places.setdefault((credential_target(seat.credential), seat.backend), at)
    return "".join(f";{name}={at}={backend}" for (name, backend), at in places.items())


def _turns(queues: Sequence[Drained]) -> str:
    """The urgencies that have a share, in drain order: it in thousandths, and where their first and last queues are."""
    spans: dict[str, list[int]] = {}
    for n, drained in enumerate(queues):
        if drained.share > 0:
            spans.setdefault(drained.queue.rpartition(".")[2], [round(drained.share * 1000)]).append(
                _FIRST + n * _WIDTH
            )
    return "".join(f";{urgency}={share}={at[0]}={at[-1]}" for urgency, (share, *at) in spans.items())


def _seats(queues: Sequence[Drained]) -> Iterator[Seat]:
    return (_seat(seat) for drained in queues for seat in drained.seats)


def _seat(seat: Seat | tuple[str, int]) -> Seat:
    return Seat(*seat)


def _delivery(row: list[bytes], server_now: float) -> Delivery:
    answers = row[13]
    assert isinstance(answers, list)
    return Delivery(
        row[0].decode(), row[1].decode(), row[2].decode(), row[3].decode(), row[4], int(row[5]) / 1000, row[6],
        int(row[7]), int(row[8]), row[9] != b"", int(row[10]) / 1000, row[11].decode(), row[12].decode(),
        tuple(answers), server_now, _fell(row[14]),
    )  # fmt: skip


def _fell(told: Any) -> Fell | None:
    if not told:
        return None
    reason, why, at, falls, strikes, stand_in = (part.decode() for part in told)
    return Fell(HoldReason(reason), why, int(at) / 1000, int(falls), int(strikes or 0), stand_in)
