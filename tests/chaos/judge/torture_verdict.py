"""The verdict on a torture run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.judge.delivery import delivery_promises
from tests.chaos.judge.evidence import Evidence, Fault
from tests.chaos.judge.promise import MAX_EXAMPLES, PATIENCE, Delays, Promise, none_of, spread

LEASE_ENDS_WITHIN_SECONDS = 15.0
TAKEOVER_SECONDS = LEASE_ENDS_WITHIN_SECONDS * PATIENCE
"""The jobs of a killed worker must be back in their queue within this time, outside outages of the server."""

AFTER_OUTAGE_SECONDS = 10.0
"""After an outage, leases are renewed rather than reaped for this time: a lease and its grace."""

END_COUNTERS = ("answered", "fell_back", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class Takeover:
    """A job that went back to its queue because its worker was silent."""

    job: str
    pid: int
    at: float


def judge(evidence: Evidence) -> list[Promise]:
    """Every promise of the run."""
    return [
        *delivery_promises(evidence),
        *_receipt_promises(evidence),
        *_takeover_promises(evidence),
        *_nothing_worse(evidence),
    ]


def report(evidence: Evidence) -> dict[str, Any]:
    """The figures beside the promises."""
    calls, first_call = Counter(call.job for call in evidence.calls), dict[str, float]()
    for call in evidence.calls:
        first_call.setdefault(call.job, call.received)
    per_job = [calls[job] for job in evidence.ids]
    starts = [sum(event["event"] == "started" for event in story) for story in evidence.history.stories.values()]
    kill, frozen = takeover_delays(evidence, "kill"), takeover_delays(evidence, "frozen")
    aimed = [fault for fault in evidence.faults_of("aimed") if fault.job in first_call]
    figures = {
        "accepted": len(evidence.accepted),
        "faults": dict(sorted(Counter(fault.kind for fault in evidence.faults).items())),
        "aof_commands": evidence.history.commands,
        "calls_per_job": round(sum(per_job) / max(1, len(per_job)), 5),
        "most_calls_of_a_job": max(per_job, default=0),
        "jobs_called_twice_or_more": sum(count > 1 for count in per_job),
        "jobs_delivered_twice_or_more": sum(count > 1 for count in starts),
        "taken_over": len(find_takeovers(evidence)),
        "kill_to_requeued_s": spread(kill.clear),
        "kill_to_requeued_near_outage_s": spread(kill.disturbed),
        "freeze_to_requeued_s": spread(frozen.clear + frozen.disturbed),
        "aimed_kill_to_call_s": spread([(first_call[fault.job] - fault.began) / 1000 for fault in aimed]),
        "counters": evidence.counters,
    }
    return {"figures": figures}


def find_takeovers(evidence: Evidence) -> list[Takeover]:
    """Every takeover in the stories of the jobs."""
    return [
        Takeover(job, parse_pid(event["worker"]), float(event["at"]))
        for job, story in evidence.history.stories.items()
        for event in story
        if event["event"] == "queued" and "worker" in event
    ]


def parse_pid(worker: str) -> int:
    """`of-gpu-host-4711-a1b2c3` -> 4711."""
    match = re.search(r"-(\d+)-[0-9a-f]+$", worker)
    return int(match[1]) if match else 0


def takeover_delays(evidence: Evidence, kind: str) -> Delays:
    """From each fault of this kind to each return of a job of its worker, matched by the process id."""
    delays = Delays()
    for takeover in find_takeovers(evidence):
        # The last fault counts: a frozen worker that continued may have been killed later.
        hits = [fault for fault in evidence.faults if fault.pid == takeover.pid and fault.began <= takeover.at]
        fault = max(hits, key=lambda fault: fault.began, default=None)
        if fault is not None and fault.kind == kind:
            near = any(_near(fault, outage) for outage in evidence.faults_of("outage"))
            delays.add(takeover.at - fault.began, near)
    return delays


def _near(fault: Fault, outage: Fault) -> bool:
    before_end = fault.began <= outage.ended + AFTER_OUTAGE_SECONDS * 1000
    return before_end and fault.began + LEASE_ENDS_WITHIN_SECONDS * 1000 >= outage.began


def _receipt_promises(evidence: Evidence) -> Iterator[Promise]:
    ids, counters = set(evidence.ids), evidence.counters
    unknown = [job for job in evidence.history.results if job not in ids]
    yield none_of("no result for a job without a receipt", unknown)
    counted, ended = counters.get("accepted", 0), sum(counters.get(name, 0) for name in END_COUNTERS)
    finding = f"{counted} accepted, {ended} ended, {len(ids)} receipts"
    yield Promise("the counters agree", counted == ended == len(ids), finding)
    if aimed := evidence.faults_of("aimed"):
        statuses = {job: result["status"] for job, result in evidence.results.items()}
        lost = [fault.job for fault in aimed if statuses.get(fault.job) != "answered"]
        yield none_of(f"{len(aimed)} jobs that met a frozen, then killed worker were answered", lost)


def _takeover_promises(evidence: Evidence) -> Iterator[Promise]:
    if not evidence.faults_of("kill"):
        return
    delays = takeover_delays(evidence, "kill").clear
    slow = [f"{delay:.1f} s" for delay in delays if delay > TAKEOVER_SECONDS]
    summary = spread(delays)
    finding = f"p50 {summary['p50']} s, p100 {summary['p100']} s, {len(delays)} jobs" if delays else "no takeover"
    kept = bool(delays) and not slow
    yield Promise(f"kill to requeued within {TAKEOVER_SECONDS:.0f} s", kept, finding, tuple(slow[:MAX_EXAMPLES]))


def _nothing_worse(evidence: Evidence) -> Iterator[Promise]:
    counters = evidence.counters
    if evidence.faults_of("frozen"):
        late = counters.get("late", 0)
        yield Promise("late settles of frozen workers were refused", late > 0, f"{late} refused")
    other = [job for job, result in evidence.results.items() if result["status"] != "answered"]
    yield none_of("every job was answered", [*other, *(job for job in evidence.ids if job in evidence.unfinished)])
    names = [name for name in counters if name.startswith("held_") or name in ("failed", "expired", "cancelled")]
    yield none_of("no job was ever held", [f"{name} ({counters[name]})" for name in names if counters[name]])
