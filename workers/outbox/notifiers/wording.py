"""An incident in words. Names of models and counts; no prompt, no answer, no address, no key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from openfall.router_core.degrading.policy import HoldReason
from openfall.router_core.state.incidents import Incident
from openfall.router_core.state.outbox import NoticeKind
from openfall.workers.outbox.delivery import Outcome

MOST_NAMES = 12
"""So many names of a kind are told, those that count most; then how many more there are."""

TITLES: Mapping[str, str] = {
    HoldReason.OUTAGE: "No model can answer",
    HoldReason.LOCAL_ONLY: "What must stay local cannot be answered",
    HoldReason.PAUSED: "Jobs wait for paused queues",
    HoldReason.BUDGET: "The budget is spent",
    HoldReason.OWN_FAULT: "Jobs get no answer that they take",
    HoldReason.POISONED: "A job kills its workers",
    HoldReason.UNREADABLE: "Jobs were written by a newer openfall",
}

REMEDIES: Mapping[str, str] = {
    HoldReason.OUTAGE: "Nothing, if the models come back: then the jobs do too. `openfall degrade list` shows them, "
    "`openfall breakers` what is in the way.",
    HoldReason.LOCAL_ONLY: "Start a local model, or lift the rule (`openfall local-only`). `openfall degrade list` "
    "shows the jobs.",
    HoldReason.PAUSED: "`openfall queues resume` when they may go on: then the jobs do. `openfall degrade list` shows "
    "the jobs.",
    HoldReason.BUDGET: "Raise the budget, or wait for the next period. `openfall degrade list` shows the jobs.",
    HoldReason.UNREADABLE: "Start workers of the newer openfall, then `openfall degrade replay`. "
    "`openfall degrade list` shows the jobs.",
}
BY_HAND = "`openfall degrade list` shows the jobs and why. When that is cured: `openfall degrade replay`."

SEEN: Mapping[str, str] = {
    "default_fallback": "the answer of another model",
    "last_answer": "the last answer to the same request",
    "canned_reply": "a canned reply",
    "hold": "that it takes longer",
    "fail": "that it failed",
    "nothing": "nothing yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is to be told. `unmentioned`: so many incidents before it were over before they could be told of."""

    entry: str
    kind: NoticeKind
    incident: Incident
    unmentioned: int
    now: float


class Notifier(Protocol):
    """One way to tell people."""

    @property
    def update_every(self) -> float:
        """It wants an update every so many seconds at the most."""

    async def tell(self, notice: Notice) -> Outcome:
        """Tell it. Raises `asyncio.CancelledError` only."""


def title(notice: Notice) -> str:
    """The one line that says it."""
    found = TITLES.get(notice.incident.reason, "Jobs cannot be answered")
    return f"Over: {found[0].lower()}{found[1:]}" if notice.kind is NoticeKind.RECOVERED else found


def summary(notice: Notice) -> str:
    """What it amounts to, in a sentence or two."""
    one = notice.incident
    if notice.kind is NoticeKind.RECOVERED:
        lasted = lasting((one.ended_at or notice.now) - one.began_at)
        return f"It lasted {lasted}. {falls(one.falls)}; {one.replayed} came back, {one.expired} ran out of time, " \
               f"{one.held} {'is' if one.held == 1 else 'are'} still held."  # fmt: skip
    said = f"{falls(one.falls)}; {one.held} {'is' if one.held == 1 else 'are'} held."
    if notice.unmentioned:
        them = "a shorter one" if notice.unmentioned == 1 else f"{notice.unmentioned} shorter ones"
        said += f" {them.capitalize()} before it went unmentioned."
    return said


def what_to_do(incident: Incident) -> str:
    return REMEDIES.get(incident.reason, BY_HAND)


def listed(counts: Mapping[str, int], words: Mapping[str, str] | None = None) -> str:
    """`3 smol, 1 large`: names with their counts, the highest first."""
    named = [f"{count} × {(words or {}).get(name, name)}" for name, count in counts.items()]
    more = len(named) - MOST_NAMES
    return ", ".join(named[:MOST_NAMES]) + (f", and {more} more" if more > 0 else "")


def falls(count: int) -> str:
    return "1 job fell" if count == 1 else f"Jobs fell {count} times"


def lasting(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
