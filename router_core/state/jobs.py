"""The producer's side of the queue: accept, read, cancel."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from openfall.router_core.deciding.substitution import Substitution
from openfall.router_core.jobs.envelope import pack_job, pack_result
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_fingerprint import digest
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import keys
from openfall.router_core.state.caller_leases import ConnectedCaller, EqualRequests, caller_arguments, read_awaited_jobs
from openfall.router_core.state.decoding import read_text
from openfall.router_core.state.delivery_counts import DeliveryCounts
from openfall.router_core.state.errors import (
    DeadlinePassed,
    IdempotencyConflict,
    MemoryPressure,
    NotConfirmed,
    QueueFull,
    StoreFull,
    UnknownJob,
)
from openfall.router_core.state.job_records import JobRecord, read_record, read_result
from openfall.router_core.state.ledger import encode_substitution
from openfall.router_core.state.redis_connection import Confirmation, RedisConnection, pairs
from openfall.router_core.state.urgent_write import urgent_command
from openfall.router_core.state.waiting_jobs import fetch_position
from openfall.router_core.unknown_words import carry_word
from openfall.router_core.vocabulary import ErrorClass, Urgency

ENTRY_POINT = "openfall.deliver"
"""The function that our rq jobs name. No worker imports it: it only shows what the job is.

The name is short: with an id of 24 characters, rq's `data` has at most the 64 bytes (`hash-max-listpack-value`) above
which Redis stores the hash of a job in twice the memory."""

RQ_TIMEOUT_SECONDS = 3600
"""Seconds that rq's tools show as a job's limit. The real limits come from the model and the deadline."""


LARGE_BODY_BYTES = 2**20
"""What is larger takes longer than 10 ms to read or to pack, and is so in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitTerms:
    """How a job is accepted. `deadline` is epoch seconds on the server's clock, and wins over `expires_after_seconds`.

    The result goes to an `inbox`, by name, with `reply_to` (JSON), and to a `webhook` (URL), for `is_response` as an
    event of OpenAI's Responses; it is kept for `keep_unread_seconds` until it was read. Not `has_deadline`: the caller
    set none, and a hold may last longer.
    At most `max_queued` jobs of the queue may be before it; 0: any number.

    `prompt_tokens` is an estimate, and `answer_tokens` the caller's limit of the answer: the limits of backends count
    them. After `start_within_seconds` the sweep checks whether another model could start sooner; None: it does not.

    `bound` is what its call uses at most, for budgets: see `cost_bound`.
    `connected_caller`: the caller is connected to a process of the HTTP gateway.
    """

    queue: str
    expires_after_seconds: float
    keep_seconds: float
    start_within_seconds: float | None = None
    deadline: float | None = None
    idempotency_key: str = ""
    inbox: str = ""
    reply_to: bytes = b""
    webhook: str = ""
    is_response: bool = False
    max_queued: int = 0
    prompt_tokens: int = 0
    answer_tokens: int | None = None
    bound: str | None = None
    keep_unread_seconds: float = 604800.0
    has_deadline: bool = True
    body_bytes: int = 0
    """The size of the body. A large one is packed in a thread."""
    connected_caller: ConnectedCaller | None = None
    unmet: tuple[str, ...] = ()
    """Models that the job would use if their card held them."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of a job. `joined`: its idempotency key belonged to this job already. `position` counts from 1."""

    id: str
    deadline: float
    position: int
    joined: bool


def _accept_arguments(job: CompletionJob, terms: SubmitTerms) -> dict[str, Any]:
    expires, start_within = terms.expires_after_seconds, terms.start_within_seconds
    job_digest = digest(job)
    return {
        "id": job.id,
        "queue": terms.queue,
        "digest": job_digest,
        "producer": job.producer,
        "group": job.group,
        "label": job.label,
        "idempotency_key": terms.idempotency_key or None,
        "deadline": None if terms.deadline is None else int(terms.deadline * 1000),
        "expires_after_ms": int(expires * 1000),
        "start_within_ms": int((expires if start_within is None else start_within) * 1000),
        "keep_s": max(1, int(terms.keep_seconds)),
        "keep_unread_s": max(1, int(terms.keep_unread_seconds)),
        "rq_timeout_s": RQ_TIMEOUT_SECONDS,
        "max_queued": terms.max_queued,
        "tokens": _tokens(terms),
        "bound": terms.bound,
        "stream": job.stream or None,
        "local_only": job.local_only or None,
        "has_deadline": terms.has_deadline or None,
        "inbox": terms.inbox or None,
        "webhook": terms.webhook or None,
        "is_response": terms.is_response or None,
        "unmet": terms.unmet or None,
        **caller_arguments(job, terms.connected_caller, job_digest),
    }


def _tokens(terms: SubmitTerms) -> str | None:
    """The tokens of a job as its record has them; None: nothing is known."""
    answer = "" if terms.answer_tokens is None else f" {terms.answer_tokens}"
    return f"{terms.prompt_tokens}{answer}" if terms.prompt_tokens or answer else None


class JobStore:
    """Accepts, reads and cancels jobs."""

    def __init__(self, link: RedisConnection) -> None:
        self._link = link

    async def accept(self, job: CompletionJob, terms: SubmitTerms) -> Receipt:
        """Write the job down and queue it. Returns after the write; sending the same job again is a no-op.

        Raises `DeadlinePassed`, `IdempotencyConflict`, `QueueFull`, `MemoryPressure`, `NotConfirmed`, or a `StoreError`
        of the connection; for a gateway `EqualRequests`.
        """
        rq_data = to_json([ENTRY_POINT, None, [job.id], {}])  # rq reads it uncompressed too, and it is shorter so
        if terms.body_bytes > LARGE_BODY_BYTES:
            packed, arguments = await asyncio.to_thread(lambda: (pack_job(job), _accept_arguments(job, terms)))
        else:
            packed, arguments = pack_job(job), _accept_arguments(job, terms)
        bodies = packed, rq_data, terms.reply_to
        reply, confirmation = await self._send(arguments, *bodies)
        verdict = reply[0]
        if verdict == b"awaited":
            raise EqualRequests(read_awaited_jobs(reply[1:]))
        job_id = read_text(reply[1])
        if verdict == b"past":
            deadline, now = _utc(terms.deadline or 0.0), _utc(int(reply[2]) / 1000)
            raise DeadlinePassed(f"the deadline {deadline} has passed: the server's clock says {now}")
        if verdict == b"full":
            raise QueueFull(terms.queue, int(reply[2]), terms.max_queued, int(reply[3]))
        if verdict == b"pressed":
            raise MemoryPressure(read_text(reply[2]))
        if verdict == b"conflict":
            raise IdempotencyConflict(terms.idempotency_key or job.id, job_id)
        receipt = Receipt(job_id, int(reply[2]) / 1000, int(reply[3]), verdict == b"joined")
        server = self._link.server
        if confirmation is not None and confirmation < (1, server.confirm_replicas):
            raise NotConfirmed(receipt.id, confirmation, server.confirm_replicas, server.confirm_timeout)
        return receipt

    async def _send(self, arguments: dict[str, Any], *bodies: Any) -> tuple[Any, Confirmation | None]:
        """Run the script that accepts a job. Where Redis has no memory left it does not run, and counts nothing."""
        try:
            return await self._link.confirmed_script("accept", arguments, *bodies)
        except StoreFull:
            await urgent_command(self._link, "HINCRBY", keys.COUNTERS, "refused_memory", 1)
            raise

    async def accept_many(self, jobs: Iterable[tuple[CompletionJob, SubmitTerms]]) -> list[Receipt | BaseException]:
        """Accept in bulk: each is written or refused on its own, in the order given."""
        return await asyncio.gather(*(self.accept(job, terms) for job, terms in jobs), return_exceptions=True)

    async def result(self, job_id: str) -> Result | None:
        """The terminal result, or None while there is none; `UnknownJob` when there is no such job."""
        packed = await self._link.command("GET", keys.RESULT + job_id)
        if packed is not None:
            return self._read_result(keys.RESULT + job_id, job_id, packed)
        state = await self._link.command("HGET", keys.RECORD + job_id, "state")
        if state == b"done":
            packed = await self._link.command("GET", keys.RESULT + job_id)  # it has ended since
            return self._read_result(keys.RESULT + job_id, job_id, packed or b"")
        if state is None and not await self._link.command("EXISTS", keys.PROMPT + job_id):
            raise UnknownJob(job_id)
        return None

    def _read_result(self, place: str, job_id: str, packed: bytes) -> Result:
        with self._link.notes.reading(place):
            return read_result(job_id, packed)

    async def interim_reply(self, job_id: str) -> tuple[Result, Urgency] | None:
        """The reply while a job is held, and its urgency. None: it is not held, or has no reply."""
        fields = ("state", "reply", "fell_from", "queue")
        state, reply, fell_from, queue = await self._link.command("HMGET", keys.RECORD + job_id, *fields)
        if state != b"held" or reply is None:
            return None
        urgency = carry_word(Urgency, read_text(fell_from or queue).rpartition(".")[2])
        return self._read_result(keys.RECORD + job_id, job_id, reply), urgency

    async def record(self, job_id: str) -> JobRecord:
        """All that is known of a job; `UnknownJob` when there is no such job."""
        record, *rest = await asyncio.gather(
            self._link.command("HGETALL", keys.RECORD + job_id),
            self._link.command("GET", keys.PROMPT + job_id),
            self._link.command("GET", keys.RESULT + job_id),
        )
        fields = pairs(record)
        if "state" not in fields:
            raise UnknownJob(job_id)
        with self._link.notes.reading(keys.RECORD + job_id):
            return read_record(job_id, fields, *rest)

    async def position(self, job_id: str) -> int | None:
        """The position in its queue, from 1. None: it is not waiting, or not among the first `MAX_SCANNED`."""
        fields = ("state", "queue", "producer")
        state, queue, producer = await self._link.command("HMGET", keys.RECORD + job_id, *fields)
        if state is None:
            raise UnknownJob(job_id)
        if state != b"queued":
            return None
        return await fetch_position(self._link, job_id, read_text(queue), producer or b"?")

    async def cancel(self, job_id: str, why: str = "cancelled by its caller") -> bool:
        """End a job that has no result yet. Its worker stops the call. False: it had ended before."""
        result = Result(id=job_id, status=Status.CANCELLED, error=ErrorClass.CANCELLED, detail=why)
        return await end_job(self._link, result, rq_status="canceled")

    async def request_stream(self, job_id: str) -> None:
        """Stream the answer: a delivery that starts from now on writes its pieces to the events, and the one in flight
        too if its provider streams."""
        if not await self._link.script("request_stream", {"id": job_id}):
            raise UnknownJob(job_id)


async def end_job(  # noqa: PLR0913 - four of them are keywords
    link: RedisConnection,
    result: Result,
    *,
    rq_status: str,
    expected_deliveries: int | None = None,
    substitution: Substitution | None = None,
    counts: DeliveryCounts | None = None,
) -> bool:
    """End a job from outside a delivery. False: it has ended already, or has moved on since `expected_deliveries`."""
    arguments = {
        "substitution": None if substitution is None else encode_substitution(substitution),
        "id": result.id,
        "deliveries": expected_deliveries,
        "status": result.status,
        "rq_status": rq_status,
        "rq_error": rq_text(result.detail) or None,
        "job_counts": None if counts is None else counts.jobs,
    }
    reply = await link.script("cancel_or_expire", arguments, pack_result(result))
    if reply[0] == b"gone":
        raise UnknownJob(result.id)
    return bool(reply[0] == b"finished")


def _utc(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def rq_text(text: str) -> str:
    """A message as rq keeps it in a result: compressed, base64."""
    return base64.b64encode(zlib.compress(text.encode())).decode() if text else ""
