"""Held jobs in words: why each is held, what it waits for, what its caller was told meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from openfall.producers.cli.render import (
    age,
    clock,
    counted,
    reply_words,
)

if TYPE_CHECKING:
    from openfall.router_core.catalog.entries import Catalog
    from openfall.router_core.jobs.result import Result
    from openfall.router_core.state.held_jobs import HeldJob, HeldSummary
    from openfall.router_core.vocabulary import (
        HoldReason,
    )

MOST_NAMED = 3
"""Models that a sentence names; the rest are counted."""


def reason_words(reason: HoldReason) -> str:
    """Why a job is held, to stand behind `held`."""
    from openfall.router_core.vocabulary import (
        HoldReason,
    )

    return {
        HoldReason.OUTAGE: "for an outage",
        HoldReason.LOCAL_ONLY: "for local-only",
        HoldReason.PAUSED: "for a paused queue",
        HoldReason.BUDGET: "for a budget",
        HoldReason.OWN_FAULT: "for a fault of their own",
        HoldReason.POISONED: "as poisoned",
        HoldReason.UNREADABLE: "as unreadable",
    }[reason]


def named(models: tuple[str, ...]) -> str:
    """`a`, `a or b`, `a, b, c or 4 more`."""
    left = len(models) - MOST_NAMED
    names = [*models[:MOST_NAMED], *([f"{left} more"] if left > 0 else [])]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1] if names else "")))


def held_words(parked: HeldSummary) -> str:
    """The part of the health sentence about held jobs: how many, why, what they wait for."""
    from openfall.router_core.vocabulary import (
        RELEASED_BY_ITSELF,
    )

    parts = [f"{number:,} {reason_words(reason)}" for reason, number in parked.by_reason.items()]
    if len(parts) == 1:
        said = f"{counted(parked.total)} held {reason_words(*parked.by_reason)}"
    else:
        first = "" if parked.examined >= parked.total else f"of the first {parked.examined:,} "
        said = f"{counted(parked.total)} held: {first}{', '.join(parts)}"
    waits = []
    if parked.models:
        waits.append(f"back by themselves when {named(parked.models)} takes calls")
    if not parked.models or any(reason not in RELEASED_BY_ITSELF for reason in parked.by_reason):
        waits.append("some wait for you" if waits else "they wait for you")
    return f"{said}; {', '.join([*waits, 'see openfall degrade list'])}"


def awaited(models: tuple[str, ...], catalog: Catalog) -> tuple[str, ...]:
    """Those of the models that something is held for whose return anybody will notice: they are still configured."""
    return tuple(model for model in models if model in catalog.models)


def release_words(job: HeldJob, now: float, catalog: Catalog) -> str:
    """What lets a held job go on."""
    from openfall.router_core.vocabulary import (
        RELEASED_BY_ITSELF,
    )

    until = f"; expires {clock(job.deadline)}"
    if job.reason not in RELEASED_BY_ITSELF:
        return f"openfall degrade replay {job.id}, when its cause is mended{until}"
    later = f", not before {age(job.ready_at - now)} from now" if job.ready_at > now else ""
    if models := awaited(job.release_models, catalog):
        return f"by itself, when {named(models)} takes calls again{later}{until}"
    gone = f"{named(job.release_models)} is" if job.release_models else "a model of its chain is"
    return f"openfall degrade replay {job.id}, when {gone} in the configuration again and may be asked{until}"


def meanwhile(result: Result) -> Iterator[str]:
    """What a person reads who waited for a job that is held now."""
    from openfall.router_core.vocabulary import (
        RELEASED_BY_ITSELF,
    )

    because = result.degraded_why or result.detail
    got = (
        f"this is only a reply for the meantime ({reply_words(result)})" if result.answered else "there is no reply yet"
    )
    yield f"nothing can answer now ({result.held_for}{': ' + because if because else ''}), so {got}"
    if result.held_for in RELEASED_BY_ITSELF:
        kept = "the job is held until its deadline, and will be answered by itself"
        yield f"{kept}. Its answer: openfall job wait {result.id}"
    else:
        yield f"the job is held until somebody looks at it: openfall degrade show {result.id}"


def fall_words(fall: Mapping[str, Any]) -> str:
    """One fall as a line: `2026-11-21 08:00:00+01:00  c07e51a2  chat/interactive  outage: ...; got: canned_reply`."""
    tried = ", ".join(f"{one['model']}@{one['backend']} {one['error'] or 'answered'}" for one in fall.get("tried", ()))
    got = str(fall.get("by") or "nothing") + ("" if fall.get("final") else ", and goes on")
    whom = f"{fall.get('role') or '-'}/{fall.get('urgency') or '-'}"
    return (
        f"{clock(fall['at'])}  {fall['id']}  {whom}  {fall['reason']}: {fall['detail']}"
        f"  · tried: {tried or 'nothing'}  · got: {got}"
    )
