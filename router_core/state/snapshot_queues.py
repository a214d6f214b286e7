"""The queues of a model in a snapshot of the fleet: which of them no worker reads now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openfall.router_core.routing.fleet_state import OUTAGE_BLOCKS, Blocked, ModelState
from openfall.router_core.state.decoding import read_moment, read_number, read_text
from openfall.router_core.vocabulary import BlockReason, Urgency


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: its jobs, the wait of the first of them in seconds, whether it is paused, and has a live worker."""

    name: str
    waiting: int
    oldest: float
    paused: bool
    served: bool


def is_stranded(urgency: Urgency, blocked: Blocked | None) -> bool:
    """Whether the jobs of a queue are examined before they are late. No worker is no reason: its pool may only be
    restarting, and the jobs are late soon enough."""
    if blocked is None:
        return False
    if blocked.reason in OUTAGE_BLOCKS:
        return True
    return urgency is Urgency.INTERACTIVE and blocked.reason is not BlockReason.NO_WORKER


def has_outage(state: ModelState) -> bool:
    return state.blocked is not None and state.blocked.reason in OUTAGE_BLOCKS


def read_queue(row: list[Any], now: float) -> QueueState:
    accepted_at = read_moment(row[2])
    oldest = now - accepted_at if accepted_at else 0.0
    return QueueState(read_text(row[0]), max(0, read_number(row[1])), max(0.0, oldest), bool(row[3]), bool(row[4]))
