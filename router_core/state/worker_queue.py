"""The worker's side of the queue: claim, settle, emit, beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from secrets import token_hex

from openfall.router_core.catalog.policies import (
    BreakerPolicy,
)
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.claims import (
    Claim,
    Delivery,
    RqJob,
    read_claim,
)
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.jobs import rq_text
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import (
    DeliveryOutcome,
    Settlement,
    SettlementBuilder,
    bucket_ms,
    policy_arguments,
)
from openfall.router_core.state.subscription import (
    QueueSubscription,
    WorkerIdentity,
    place_words,
    queue_words,
    reserved_slots,
    turn_words,
)

LEASE_SECONDS = 10.0
"""Seconds that a claim lasts without a beat."""
BEAT_INTERVAL_SECONDS = 2.0
PRESENCE_SECONDS = 10.0
CREDIT_INTERVAL_JOBS = 4
"""Jobs after which a worker's claim looks who was kept waiting by them."""
RQ_WORKER_TTL_SECONDS = 60
"""Seconds after which rq forgets a worker that no longer beats."""


@dataclass(frozen=True, slots=True)
class SettleReply:
    """What became of a settle: 'settled', 'again' (it had arrived before), 'late' (refused by the fence) or 'gone'.

    `opened`: what it told of its call opened a breaker.
    """

    outcome: str
    opened_breaker: bool = False


class WorkerQueue:
    """Carries the claims of one worker. `queues` in the order in which they are drained."""

    def __init__(
        self,
        link: RedisConnection,
        who: WorkerIdentity,
        queues: Sequence[QueueSubscription],
        *,
        policy: BreakerPolicy | None = None,
        keep_prompts: bool = False,
    ) -> None:
        self._link = link
        self._who = who
        self._told = ""
        policy = policy or BreakerPolicy()
        self._settling = SettlementBuilder(who.name, policy_arguments(policy), bucket_ms(policy), keep_prompts)
        self.reserved_slots = reserved_slots(queues)
        """Slots that are kept for interactive jobs, of all its backends."""
        self._queues = queue_words(queues)
        self._places, self._turns = place_words(queues), turn_words(queues)
        self._nonce = token_hex(4)  # not the name: a namesake, or a successor under the same name, counts from 1 too
        self._claims = self._unaccounted = 0
        self._answered = self._failed = 0

    async def claim(self, want: int, busy: int, drained_for: str = "", others: int | None = None) -> Claim:
        """Claim up to `want` jobs while `busy` calls are in flight here; of them so many `others` than interactive ones
        (None: all may be)."""
        self._claims += 1
        reply = await self._link.script(
            "claim", self._who.name, f"{self._nonce}.{self._claims:x}.", want, int(LEASE_SECONDS * 1000), busy,
            self._told, self._who.pool, drained_for, int(self._who.local), self._places, self._turns,
            self._unaccounted, CREDIT_INTERVAL_JOBS, want if others is None else others, *self._queues,
        )  # fmt: skip
        claim = read_claim(reply)
        self._told = claim.state
        self._unaccounted += len(claim.deliveries)
        self._unaccounted *= self._unaccounted < CREDIT_INTERVAL_JOBS
        return claim

    def settlement(self, delivery: Delivery, ending: DeliveryOutcome) -> Settlement:
        """The settle of a delivery."""
        return self._settling.build(delivery.id, delivery.token, ending)

    async def settle(self, settle: Settlement) -> SettleReply:
        """Send a settle."""
        reply = await self._link.script("settle", settle.id, settle.token, *settle.args)
        came = reply[0].decode()
        if came == "settled" and settle.status is not None:
            # rq's own counts of a worker; they go with its next beat rather than cost every settle a write.
            self._answered += settle.status == Status.ANSWERED
            self._failed += settle.status != Status.ANSWERED
        return SettleReply(came, bool(reply[2]))

    async def append_events(self, delivery: Delivery, pieces: Iterable[bytes]) -> bool:
        """Add pieces of an answer to the job's events. False: the delivery has lost its lease."""
        return bool(await self._link.script("emit", delivery.id, delivery.token, *pieces))

    async def beat(self, in_flight: Iterable[Delivery]) -> tuple[bool, list[str]]:
        """Renew presence and leases. Returns whether rq still knows the worker, and the ids that are no longer its."""
        calls = [part for delivery in in_flight for part in (delivery.id, delivery.token, delivery.backend)]
        answered, failed = self._answered, self._failed
        reply = await self._link.script(
            "beat", self._who.name, int(PRESENCE_SECONDS * 1000), int(LEASE_SECONDS * 1000), RQ_WORKER_TTL_SECONDS,
            answered, failed, *calls,
        )  # fmt: skip
        self._answered -= answered
        self._failed -= failed
        return bool(reply[0]), [job_id.decode() for job_id in reply[2:]]

    async def adopt_rq_job(self, ticket: RqJob, job_id: str, why_not: str, give_up: float) -> str:
        """End a job that plain rq put in, after seeing that the accepted job it asks for runs."""
        reply = await self._link.script(
            "ticket", ticket.id, "" if why_not else job_id, rq_text(why_not or str(UnknownJob(job_id))),
            self._who.name, int(give_up * 1000),
        )  # fmt: skip
        return str(reply[0].decode())
