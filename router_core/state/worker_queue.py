"""The worker's side of the queue: claim, settle, append events, beat."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from secrets import token_hex
from typing import Any

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.rate_limits import ChargedCall
from openfall.router_core.deciding.crash_limits import SUSPECT_DELAY_SECONDS
from openfall.router_core.jobs.result import Status
from openfall.router_core.state.beats_and_leases import (
    FLEET_SILENCE,
    LEASE_SECONDS,
    PRESENCE_SECONDS,
    RQ_WORKER_TTL_SECONDS,
)
from openfall.router_core.state.budget_book import BudgetBook
from openfall.router_core.state.claims import Claim, Delivery, RqJob, read_claim
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.jobs import rq_text
from openfall.router_core.state.lost_writes import KEPT_SECONDS
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import (
    DeliveryOutcome,
    Settlement,
    build_settlement,
    limit_arguments,
    policy_arguments,
)
from openfall.router_core.state.worker_subscription import QueueSubscription, WorkerIdentity, pack_subscription

CREDIT_INTERVAL_JOBS = 4
"""Jobs after which a worker's claim updates the credits of fair shares."""
RQ_RESULT_TTL_SECONDS = 500
"""How long the result of a job of plain rq is kept."""
_CLAIM_TERMS = {
    "lease_ms": int(LEASE_SECONDS * 1000),
    "update_after": CREDIT_INTERVAL_JOBS,
    "suspect_delay_ms": int(SUSPECT_DELAY_SECONDS * 1000),
}
"""What is the same in every claim: a script decodes it once."""


@lru_cache(maxsize=64)
def _digest(*bodies: bytes) -> str:
    return sha1(b"\n".join(bodies), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class SettleReply:
    """The outcome of a settle: 'settled', 'again' (it had arrived before), 'late' (refused by the fence) or 'gone'
    (Redis does not know the job).

    `opened_breaker`: its call opened a breaker.
    """

    outcome: str
    opened_breaker: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """What a beat found: whether rq still knows the worker, the ids of the jobs that it has lost, and whether Redis has
    lost what it had stored before the last beat of this worker."""

    registered: bool
    lost: list[str]
    went_back: bool


class WorkerQueue:
    """Claims and settles for one worker. `queues` in drain order."""

    def __init__(  # noqa: PLR0913 - three of them are keywords
        self,
        link: RedisConnection,
        identity: WorkerIdentity,
        queues: Sequence[QueueSubscription],
        *,
        policy: BreakerPolicy | None = None,
        keep_prompts: bool = False,
        budgets: Sequence[Budget] = (),
    ) -> None:
        self._link = link
        self._identity = identity
        self._rq_state = ""
        self._policy = policy_arguments(policy or BreakerPolicy())
        self._keep_prompts = keep_prompts
        reserved = {backend.name: backend.reserved for queue in queues for backend in queue.backends}
        self.reserved_slots = sum(reserved.values())
        """Slots that are reserved for interactive jobs, of all its backends."""
        self._rates = {backend.name: backend.rates for queue in queues for backend in queue.backends}
        self._subscription = pack_subscription(identity, queues, _CLAIM_TERMS)
        self._nonce = token_hex(4)  # not the name: a namesake, or a successor under the same name, counts from 1 too
        self._claims = self._jobs_since_update = 0
        self._answered = self._failed = 0
        self._last_beat: tuple[int, int] | None = None
        """The count of beats, and the clock of Redis (ms), as its last beat replied."""
        is_counted = any(backend.budgets for queue in queues for backend in queue.backends)
        self._book, self._server_now = BudgetBook(budgets if is_counted else ()), time.time()
        self._sent = ""
        """The digest of the bodies that this worker has sent."""

    async def claim(
        self, limit: int, in_flight: int, suspect: str = "", max_not_interactive: int | None = None
    ) -> Claim:
        """Claim up to `limit` jobs while `in_flight` calls run here, at most `max_not_interactive` of them (None: any
        number) other than interactive. `suspect`: the job for which this worker has let its calls end."""
        self._claims += 1
        arguments = {
            "worker": self._identity.name,
            "nonce": f"{self._nonce}.{self._claims:x}.",
            "limit": limit,
            "max_not_interactive": max_not_interactive,
            "in_flight": in_flight,
            "rq_state": self._rq_state,
            "suspect": suspect or None,
            "jobs_since_update": self._jobs_since_update,
        }
        reply = await self._run_claim(arguments, self._subscription, self._book.pack(self._server_now))
        claim = read_claim(reply, self._link.notes)
        self._rq_state, self._server_now = claim.state, claim.now
        self._jobs_since_update += len(claim.deliveries)
        if self._jobs_since_update >= CREDIT_INTERVAL_JOBS:
            self._jobs_since_update = 0
        return claim

    async def _run_claim(self, arguments: dict[str, Any], *bodies: bytes) -> Any:
        """Run the script. It gets the bodies, most of the bytes of a claim, only if the server does not know them."""
        digest = arguments["bodies"] = _digest(*bodies)
        if digest == self._sent and (reply := await self._link.script("claim", arguments, b"", b"")):
            return reply
        reply = await self._link.script("claim", arguments, *bodies)
        self._sent = digest
        return reply

    def settlement(self, delivery: Delivery, outcome: DeliveryOutcome) -> Settlement:
        """The settlement of a delivery."""
        return build_settlement(
            delivery.id,
            delivery.token,
            outcome,
            self._policy,
            keep_prompts=self._keep_prompts,
            limits=self._limits(delivery, outcome),
        )

    def _limits(self, delivery: Delivery, outcome: DeliveryOutcome) -> dict[str, Any] | None:
        """How the limits of its key are corrected after a delivery; None: they are not."""
        if delivery.charged_tokens is None:
            return None
        charged = ChargedCall(delivery.credential, delivery.interactive, delivery.charged_tokens)
        return limit_arguments(delivery.backend, self._rates[delivery.backend], charged, outcome.call)

    async def settle(self, settlement: Settlement) -> SettleReply:
        """Send a settlement."""
        reply = await self._link.script("settle", *settlement.args)
        outcome = reply[0].decode()
        if outcome == "settled" and (status := settlement.status) is not None:
            # rq's own counts of a worker go with its next beat: a settle is saved a write.
            self._answered += status == Status.ANSWERED
            self._failed += status != Status.ANSWERED
        return SettleReply(outcome, bool(reply[2]))

    async def append_pieces(self, delivery: Delivery, events: Iterable[bytes], batch: int) -> int | None:
        """Append events with pieces of an answer to those of the job. The batches of a delivery count from 1; one that
        has been appended before is not appended again. Returns the number of the last batch that Redis has: less than
        `batch` if a failover has lost some before it. None: the delivery has lost its lease."""
        arguments = {"id": delivery.id, "token": delivery.token, "batch": batch}
        reply: int | None = await self._link.script("append_events", arguments, *events)
        return reply

    async def append_events(self, delivery: Delivery, *events: bytes) -> bool:
        """Append events about the call to those of the job. False: the delivery has lost its lease."""
        arguments = {"id": delivery.id, "token": delivery.token}
        return await self._link.script("append_events", arguments, *events) is not None

    async def beat(self, in_flight: Iterable[Delivery]) -> Beat:
        """Renew presence and leases."""
        beats, beaten_at = self._last_beat or (None, None)
        answered, failed = self._answered, self._failed
        arguments = {
            "worker": self._identity.name,
            "pool": self._identity.pool,
            "queues": ",".join(self._identity.queues),
            "presence_ms": int(PRESENCE_SECONDS * 1000),
            "lease_ms": int(LEASE_SECONDS * 1000),
            "rq_ttl_s": RQ_WORKER_TTL_SECONDS,
            "answered": answered,
            "failed": failed,
            "silence": FLEET_SILENCE,
            "beats": beats,
            "beaten_at": beaten_at,
            "lost_writes_ttl_s": KEPT_SECONDS,
            "deliveries": [(delivery.id, delivery.token, delivery.backend) for delivery in in_flight],
        }
        reply = await self._link.script("beat", arguments)
        self._answered -= answered
        self._failed -= failed
        known, now, counted, went_back, *lost = reply
        self._last_beat = counted, int(float(now))
        return Beat(bool(known), [read_text(job_id) for job_id in lost], bool(went_back))

    async def adopt_rq_job(self, rq_job: RqJob, job_id: str, why_not: str, expires_after_seconds: float) -> str:
        """End a job of plain rq, after seeing that the accepted job it names runs.

        `why_not`: it names none that can run. `expires_after_seconds` is for a job that runs again.
        """
        arguments = {
            "rq_job": rq_job.id,
            "id": None if why_not else job_id or None,
            "rq_error": rq_text(why_not or str(UnknownJob(job_id))),
            "worker": self._identity.name,
            "expires_after_ms": int(expires_after_seconds * 1000),
            "rq_result_ttl_s": RQ_RESULT_TTL_SECONDS,
        }
        return read_text((await self._link.script("adopt_rq_job", arguments))[0])
