"""Who was told of what, how often, and how soon: each caller of its end, and at once of an interim reply.

Nothing of openfall is imported here. Moments are epoch milliseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.outage_drilling.evidence import Evidence
from benchmarks.torture_checker.verdict import Promise, none_of

SOON = 2.0
"""Seconds from a decision to the moment at which a waiting caller has heard of it."""

AFTERWARDS = 4000.0
"""Milliseconds after an outage of the server in which those that it cut off come back."""


@dataclass
class Delays:
    """Seconds. `apart` are those that a kill of the server, or of who was to decide, fell into."""

    clear: list[float] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)


def told_promises(evidence: Evidence) -> Iterator[Promise]:
    """That everybody heard, once, the truth, and soon."""
    yield from _heard(evidence)
    yield from _inbox(evidence)
    yield from _hooks(evidence)
    delays = heard_after(evidence, "wait")
    slow = [f"{delay:.2f} s" for delay in delays.clear if delay > SOON]
    told = percentiles(delays.clear)
    name = f"interactive callers heard that they were degraded within {SOON:g} s of the decision"
    yield Promise(name, bool(delays.clear) and not slow, told, tuple(slow[:5]))


def _heard(evidence: Evidence) -> Iterator[Promise]:
    """Whoever waited, or asked later, heard one end; and it is the one that is kept."""
    heard: dict[str, list[str]] = defaultdict(list)
    for one in evidence.heard:
        if one.event == "done" and one.by in ("wait", "later"):
            heard[one.job].append(one.status)
    wrong = []
    for job in evidence.accepted:
        kept = evidence.results.get(job.id)
        if job.way in ("wait", "later") and kept is not None and heard[job.id] != [kept["status"]]:
            wrong.append(f"{job.id}: heard {heard[job.id]}, kept {kept['status']}")
    yield none_of("whoever waited or asked later heard one end, the one that is kept", wrong)


def _inbox(evidence: Evidence) -> Iterator[Promise]:
    entries: dict[str, int] = defaultdict(int)
    for entry in evidence.written.inbox:
        entries[entry.job] += entry.kind == "done"
    read: dict[str, int] = defaultdict(int)
    for one in evidence.heard:
        read[one.job] += one.by == "inbox" and one.event == "done"
    ended = [job.id for job in evidence.accepted if job.way == "inbox" and job.id in evidence.results]
    wrong = [f"{job}: {entries[job]} entries" for job in ended if entries[job] != 1]
    yield none_of("every end of a job with an inbox was put there once", wrong)
    yield none_of("and was read from it by its producer", [job for job in ended if read[job] != 1])


def _hooks(evidence: Evidence) -> Iterator[Promise]:
    """The same webhook-id may come twice; two ends never may."""
    ids: dict[str, set[str]] = defaultdict(set)
    ends: dict[str, set[str]] = defaultdict(set)
    for hook in evidence.hooks:
        if hook["kind"] == "done":
            ends[hook["job"]].add(hook["body"])
            ids[hook["job"]].add(hook["id"])
    taken = {hook["job"] for hook in evidence.hooks if hook["kind"] == "done" and hook["status"] < 300}
    ended = [job.id for job in evidence.accepted if job.way == "webhook" and job.id in evidence.results]
    yield none_of("every end of a job with a webhook was delivered", [job for job in ended if job not in taken])
    two = [job for job in ends if len(ends[job]) > 1 or len(ids[job]) > 1]
    yield none_of("no webhook told of two ends, nor of one under two ids", two)


def heard_after(evidence: Evidence, by: str) -> Delays:
    """From each `degraded` event of an interactive job to the moment at which its caller had it."""
    urgent = {job.id for job in evidence.accepted if job.urgency == "interactive"}
    delays = Delays()
    for one in evidence.heard:
        if one.event == "degraded" and one.by == by and one.job in urgent and one.decided:
            apart = _disturbed(evidence, one.decided, one.at)
            (delays.apart if apart else delays.clear).append((one.at - one.decided) / 1000)
    return delays


def asked_to_heard(evidence: Evidence) -> list[float]:
    """From the acceptance of an interactive job while every backend was away to the moment at which who waits for it
    heard that it is degraded."""
    away = [fault for fault in evidence.faults if fault.kind == "backends"]
    urgent = {job.id for job in evidence.accepted if job.urgency == "interactive"}
    first: dict[str, float] = {}
    for one in evidence.heard:
        if one.event == "degraded" and one.by == "wait" and one.job in urgent:
            first.setdefault(one.job, one.at)
    delays = []
    for job, at in first.items():
        asked = float(evidence.written.stories[job][0]["at"])
        if any(fault.began <= asked <= fault.ended for fault in away):
            delays.append((at - asked) / 1000)
    return delays


def degraded_after(evidence: Evidence) -> Delays:
    """From each fall of an interactive job to what was decided for it."""
    urgent = {job.id for job in evidence.accepted if job.urgency == "interactive"}
    delays = Delays()
    for job in urgent & evidence.written.stories.keys():
        fell, taken_over = 0.0, False
        for event in evidence.written.stories[job]:
            at = float(event["at"])
            if event["event"] == "fallen":
                fell, taken_over = at, False
            elif event["event"] == "queued":
                taken_over = event.get("queue") == "degrade"
            elif fell and event["event"] in ("degraded", "held", "done"):
                apart = taken_over or _disturbed(evidence, fell, at)
                (delays.apart if apart else delays.clear).append((at - fell) / 1000)
                fell = 0.0
    return delays


def _disturbed(evidence: Evidence, began: float, ended: float) -> bool:
    """Whether the server was away in this time, or so shortly before it that it was still felt."""
    outages = [fault for fault in evidence.faults if fault.kind == "outage"]
    return any(began <= fault.ended + AFTERWARDS and ended >= fault.began for fault in outages)


def percentiles(values: list[float]) -> str:
    """How many, and the middle, nearly the last, and the last of them, in words."""
    if not values:
        return "none was seen"
    ranked = sorted(values)
    middle, late = ranked[len(ranked) // 2], ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)]
    return f"p50 {middle:.3f} s, p99 {late:.3f} s, max {ranked[-1]:.3f} s of {len(ranked)}"
