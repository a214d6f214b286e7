"""What a claim returns: deliveries, jobs of plain rq, probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openfall.router_core.degrading.judged_fall import FallContext
from openfall.router_core.jobs.over_budget import OverBudget
from openfall.router_core.state.budget_book import read_over
from openfall.router_core.state.decoding import read_hold_reason, read_moment, read_number, read_text
from openfall.router_core.state.keys import RECORD, model_of
from openfall.router_core.state.unreadable_notes import UnreadableNotes


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of one job. `token` fences it. Times are epoch seconds; `server_now` is the server's clock at the
    claim.

    The epochs are those of the breakers of its model and its key. `credential` names the key to call with; empty: the
    backend has none. `charged_tokens` were charged to the limits of that key; None: it has none. `answers` were kept
    with the job so far.
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
    streamed: bool
    accepted_at: float
    epoch: str
    credential: str
    credential_epoch: str
    charged_tokens: int | None
    answers: tuple[bytes, ...]
    server_now: float
    fall: FallContext | None = None
    """Only for a job that is delivered because it fell: to the degrade worker, or to a default fallback."""
    replied: bool = False
    """Its caller has had a reply of Open Fall, or a result, before."""
    over: OverBudget | None = None
    """The budget that its call does not fit into: it has reserved nothing, so that no call may be made."""

    @property
    def interactive(self) -> bool:
        return self.queue.endswith(".interactive")

    @property
    def model(self) -> str:
        """The model of its queue; empty for `degrade`."""
        return model_of(self.queue)


@dataclass(frozen=True, slots=True)
class RqJob:
    """A job enqueued with plain rq. `data` is the call that rq stored."""

    id: str
    queue: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Probe:
    """A health prompt to send: the only one of the fleet for this breaker, as long as its lease lasts. `credential`
    names the key to call with; empty: the backend has none."""

    target: str
    backend: str
    model: str
    credential: str
    token: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim returned. `next_due_at`: the next scheduled delivery or probe (epoch seconds; 0: none).

    `more_waiting`: jobs wait for a slot. `suspect`: a job that runs alone. Let the calls in flight end, then claim
    again and name it."""

    state: str
    now: float
    next_due_at: float
    suspect: str
    more_waiting: bool
    deliveries: tuple[Delivery, ...]
    rq_jobs: tuple[RqJob, ...]
    probes: tuple[Probe, ...]


def read_claim(reply: list[Any], notes: UnreadableNotes) -> Claim:
    """Read the reply of claim.lua. `notes`: those of its connection."""
    state, now, next_due, suspect, more_waiting, jobs, rq_jobs, probes = reply
    server_now = read_moment(now)
    return Claim(
        state=read_text(state),
        now=server_now,
        next_due_at=read_moment(next_due),
        suspect=read_text(suspect),
        more_waiting=bool(more_waiting),
        deliveries=tuple(_read_delivery(row, server_now, notes) for row in jobs),
        rq_jobs=tuple(RqJob(read_text(row[0]), read_text(row[1]), row[2]) for row in rq_jobs),
        probes=tuple(Probe(*map(read_text, row)) for row in probes),
    )


def _read_delivery(row: list[Any], server_now: float, notes: UnreadableNotes) -> Delivery:
    with notes.reading(RECORD + read_text(row[0])):
        return _delivery(row, server_now)


def _delivery(row: list[Any], server_now: float) -> Delivery:
    return Delivery(
        read_text(row[0]), read_text(row[1]), read_text(row[2]), read_text(row[3]), row[4], read_moment(row[5]), row[6],
        read_number(row[7]), read_number(row[8]), row[9] != b"", read_moment(row[10]), read_text(row[11]),
        read_text(row[12]), read_text(row[13]), None if row[14] < 0 else row[14], tuple(row[15]), server_now,
        _fall_info(row[16]), row[17] != b"", read_over(read_text(row[18])),
    )  # fmt: skip


def _fall_info(row: Any) -> FallContext | None:
    if not row:
        return None
    reason, why, at, falls, strikes, default_fallback, has_deadline, over = row
    return FallContext(
        reason=read_hold_reason(reason), detail=read_text(why), at=read_moment(at), falls=read_number(falls),
        strikes=read_number(strikes), default_fallback=read_text(default_fallback) or None,
        has_deadline=bool(has_deadline), over=read_over(read_text(over)),
    )  # fmt: skip
