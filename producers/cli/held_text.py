"""Text about held jobs: the reason, what releases each, the interim reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.producers.amount_text import plural
from openfall.producers.duration_text import format_time
from openfall.router_core.jobs.answer_reason import describe_reply
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.held_jobs import HeldSummary
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason


def describe_reason(reason: HoldReason) -> str:
    """Why a job is held, to stand behind `held`."""
    return {
        HoldReason.OUTAGE: "for an outage",
        HoldReason.LOCAL_ONLY: "for local-only",
        HoldReason.PAUSED: "for a paused queue",
        HoldReason.BUDGET: "for a budget",
        HoldReason.OWN_FAULT: "for a fault of their own",
        HoldReason.POISONED: "as poisoned",
        HoldReason.UNREADABLE: "as unreadable",
    }.get(reason, f"for {reason}")


def describe_held(summary: HeldSummary, condition: str) -> str:
    """The part of the health sentence about held jobs: how many, why, what they wait for. `condition`: when those
    return that return by themselves."""
    parts = [f"{number:,} {describe_reason(reason)}" for reason, number in summary.by_reason.items()]
    if len(parts) == 1:
        text = f"{plural(summary.total, 'job')} held {describe_reason(*summary.by_reason)}"
    else:
        first = "" if summary.examined >= summary.total else f"of the first {summary.examined:,} "
        text = f"{plural(summary.total, 'job')} held: {first}{', '.join(parts)}"
    conditions = []
    if condition:
        itself = "itself" if summary.total == 1 else "themselves"
        conditions.append(f"back by {itself} when {condition}")
    if not condition or any(reason not in RELEASED_BY_ITSELF for reason in summary.by_reason):
        they = "some need" if conditions else "it needs" if summary.total == 1 else "they need"
        conditions.append(f"{they} an operator")
    return f"{text}, {', '.join(conditions)} (openfall held list)"


def interim_lines(result: Result) -> Iterator[str]:
    """The lines for a caller whose job is held."""

    because = result.degraded_why or result.detail
    reply = f"this is an interim reply ({describe_reply(result)})" if result.answered else "there is no reply yet"
    yield f"no model can answer now ({result.held_for}{': ' + because if because else ''}), so {reply}"
    if result.held_for in RELEASED_BY_ITSELF:
        until = "its deadline" if result.held_until is None else format_time(result.held_until)
        kept = f"the job is held until {until}, and will be answered by itself"
        yield f"{kept}. Its answer: openfall job wait {result.id}"
    else:
        yield f"the job is held until an operator replays it: openfall held show {result.id}"


def describe_fall(fall: Mapping[str, Any]) -> str:
    """One fall as a line: `2026-11-21 08:00:00+01:00  c07e51a2  chat/interactive  outage: ...; got: canned_reply`."""
    tried = ", ".join(
        f"{attempt['model']}@{attempt['backend']} {attempt.get('cause') or attempt['error'] or 'answered'}"
        for attempt in fall.get("tried", ())
    )
    reply = str(fall.get("by") or "nothing") + ("" if fall.get("final") else ", the job continues")
    owner = f"{fall.get('role') or '-'}/{fall.get('urgency') or '-'}"
    return (
        f"{format_time(fall['at'])}  {fall['id']}  {owner}  {fall['reason']}: {fall['detail']}"
        f"  · tried: {tried or 'nothing'}  · got: {reply}"
    )
