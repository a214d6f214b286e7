"""The text of a notice about an incident: model names and counts; no prompt, answer, URL or key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from openfall.router_core.jobs.outcome import cause_in_brackets
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.incidents import Incident
from openfall.router_core.state.outbox import NoticeKind
from openfall.router_core.vocabulary import (
    BUDGET_LOW,
    BUDGET_SPENT,
    FLAT_PLAN,
    MONEY_REASONS,
    PLAN_LOW,
    UNEXPECTED_SPEND,
    HoldReason,
)
from openfall.workers.outbox.delivery_result import DeliveryResult

MAX_NAMES = 12
"""Names listed of each kind, those with the highest counts; the rest is a number."""

TITLES: Mapping[str, str] = {
    HoldReason.OUTAGE: "No model can answer",
    HoldReason.LOCAL_ONLY: "Local-only jobs cannot be answered",
    HoldReason.PAUSED: "Jobs wait for paused queues",
    HoldReason.BUDGET: "A budget has too little left",
    HoldReason.OWN_FAULT: "No model gives an answer that passes the checks",
    HoldReason.POISONED: "A job kills its workers",
    HoldReason.UNREADABLE: "Jobs cannot be read",
    FLAT_PLAN: "A flat plan is out",
    UNEXPECTED_SPEND: "Calls cost money that should cost nothing",
    BUDGET_LOW: "A budget is nearly spent",
    BUDGET_SPENT: "A budget is spent, and refuses calls",
    PLAN_LOW: "A flat plan is nearly used up",
}

ADVICE: Mapping[str, str] = {
    HoldReason.OUTAGE: "Nothing, if the models recover: the jobs are then released automatically. "
    "`openfall held list` shows the jobs, `openfall breakers` the cause.",
    HoldReason.LOCAL_ONLY: "Start a local model, or switch the rule off (`openfall local-only`). "
    "`openfall held list` shows the jobs.",
    HoldReason.PAUSED: "Run `openfall queues resume QUEUE` to release the jobs. `openfall held list` shows them.",
    HoldReason.BUDGET: "Raise the budget, or wait for the next period. `openfall held list` shows the jobs.",
    FLAT_PLAN: "Renew the key or the credit, or wait until the limit of the plan resets. "
    "`openfall breakers` shows the cause, `openfall spend` what the other models cost meanwhile.",
    UNEXPECTED_SPEND: "`openfall spend --unexpected` shows which model should have answered, and why it did not.",
    BUDGET_LOW: "`openfall budgets` shows the forecast. `openfall budgets raise` raises a limit for a while.",
    BUDGET_SPENT: "`openfall budgets raise` raises its limit for a while; `openfall budgets` shows when it resets.",
    PLAN_LOW: "`openfall budgets` shows when it resets. The models behind it in a chain may be metered.",
    HoldReason.UNREADABLE: "Upgrade every worker, if a newer openfall wrote them, then run "
    "`openfall held replay --reason unreadable`. `openfall held list` shows the jobs.",
}
DEFAULT_ADVICE = "`openfall held list` shows the jobs and the cause. Once it is fixed, run `openfall held replay ID`."

REMEDY_LABELS: Mapping[str, str] = {
    "default_fallback": "the answer of another model",
    "last_answer": "the last answer to the same request",
    "canned_reply": "a canned reply",
    "hold": "that it takes longer",
    "fail": "that it failed",
    "nothing": "nothing yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What to report. `unmentioned`: earlier incidents that ended before the rate limit let them be reported."""

    entry: str
    kind: NoticeKind
    incident: Incident
    unmentioned: int
    now: float


class Notifier(Protocol):
    """One channel for notices."""

    @property
    def update_interval_seconds(self) -> float:
        """The least time between two updates."""

    async def notify(self, notice: Notice) -> DeliveryResult:
        """Deliver a notice. Raises only `asyncio.CancelledError`."""

    async def announce_action(self, entry: str, action: AuditEntry, now: float) -> DeliveryResult:
        """Deliver what an operator did. Raises only `asyncio.CancelledError`."""


def action_title(action: AuditEntry) -> str:
    """The headline of what an operator did."""
    return f"{action.actor}: {action.action} {action.subject}"


def title(notice: Notice) -> str:
    """The headline."""
    text = TITLES.get(notice.incident.reason, "Jobs cannot be answered")
    return f"Over: {text[0].lower()}{text[1:]}" if notice.kind is NoticeKind.RECOVERED else text


def summary(notice: Notice) -> str:
    """The extent of the incident, in one or two sentences."""
    incident = notice.incident
    if incident.reason == FLAT_PLAN:
        return _flat_plan_summary(notice)
    if incident.reason in MONEY_REASONS:
        return _money_summary(incident)
    held = f"{incident.held} {'is' if incident.held == 1 else 'are'}"
    if notice.kind is NoticeKind.RECOVERED:
        lasted = format_duration((incident.ended_at or notice.now) - incident.began_at)
        rest = f"{held} still held" + (" and will be released one after the other" if incident.held else "")
        return (
            f"It lasted {lasted}. {format_falls(incident.falls)}; {incident.replayed} came back, "
            f"{incident.expired} ran out of time, {rest}."
        )
    text = f"{format_falls(incident.falls)}; {held} held."
    if notice.unmentioned == 1:
        text += " One shorter incident before it was not reported."
    elif notice.unmentioned:
        text += f" {notice.unmentioned} shorter incidents before it were not reported."
    return text


def _money_summary(incident: Incident) -> str:
    if incident.reason == UNEXPECTED_SPEND:
        calls = format_counts(incident.models)
        return f"${incident.nusd / 1e9:.2f} today: {calls}. Causes: {format_counts(incident.causes)}."
    shares = ", ".join(f"{name}: {percent} %" for name, percent in list(incident.models.items())[:MAX_NAMES])
    return f"Used: {shares}."


def _flat_plan_summary(notice: Notice) -> str:
    incident = notice.incident
    if notice.kind is NoticeKind.RECOVERED:
        lasted = format_duration((incident.ended_at or notice.now) - incident.began_at)
        return f"It lasted {lasted}. The models of the plan take calls again: {', '.join(incident.models)}."
    causes = ", ".join(map(cause_in_brackets, incident.causes))
    return (
        f"{', '.join(incident.models)} take no calls ({causes}). Their jobs go to the next models of "
        "their chains, which may be metered."
    )


def advice(incident: Incident) -> str:
    """What the operator should do."""
    return ADVICE.get(incident.reason, DEFAULT_ADVICE)


def format_counts(counts: Mapping[str, int], labels: Mapping[str, str] | None = None) -> str:
    """`3 × smol, 1 × large`: names with their counts, the highest first."""
    items = [f"{count} × {(labels or {}).get(name, name)}" for name, count in counts.items()]
    more = len(items) - MAX_NAMES
    return ", ".join(items[:MAX_NAMES]) + (f", and {more} more" if more > 0 else "")


def format_falls(count: int) -> str:
    return "1 job fell" if count == 1 else f"Jobs fell {count} times"


def format_duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
