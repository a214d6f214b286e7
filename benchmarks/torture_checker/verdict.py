"""From evidence to a verdict: each promise, whether it was kept, and the figures that say so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.torture_checker.aof import Takeover
from benchmarks.torture_checker.evidence import Evidence, Fault

TAKEOVER = 15.0
"""Seconds from a kill in which what the worker held must be back in its queue, outside outages of the server."""

AFTER_OUTAGE = 10.0
"""Seconds after an outage in which leases are renewed rather than reaped: a lease and its grace."""

ENDED = ("answered", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class Promise:
    """One thing that must hold. `told` is the figure beside it; `named` are examples of what broke it."""

    name: str
    kept: bool
    told: str
    named: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delays:
    """Seconds from a fault to the return of each job that its worker held."""

    clear: list[float]
    near_outage: list[float]


def judge(evidence: Evidence) -> list[Promise]:
    """Every promise of the run."""
    return [
        *_once(evidence),
        *_in_one_place(evidence),
        *_called(evidence),
        *_taken_over(evidence),
        *_nothing_worse(evidence),
    ]


def figures(evidence: Evidence) -> dict[str, Any]:
    """What is worth knowing beside the promises."""
    calls = evidence.calls.received
    per_job = [calls[job] for job in evidence.accepted]
    told = {kind: sum(fault.kind == kind for fault in evidence.faults) for kind in _kinds(evidence.faults)}
    delays = takeover_delays(evidence, "kill")
    frozen = takeover_delays(evidence, "frozen")
    return {
        "accepted": len(evidence.accepted),
        "faults": told,
        "aof_commands": evidence.history.commands,
        "calls_per_job": round(sum(per_job) / max(1, len(per_job)), 5),
        "most_calls_of_a_job": max(per_job, default=0),
        "jobs_called_twice_or_more": sum(count > 1 for count in per_job),
        "jobs_delivered_twice_or_more": sum(count > 1 for count in evidence.history.started.values()),
        "taken_over": len(evidence.history.takeovers),
        "kill_to_requeued_s": spread(delays.clear),
        "kill_to_requeued_near_outage_s": spread(delays.near_outage),
        "freeze_to_requeued_s": spread(frozen.clear + frozen.near_outage),
        "aimed_kill_to_call_s": spread(_aimed_delays(evidence)),
        "counters": evidence.store.counters,
    }


def takeover_delays(evidence: Evidence, kind: str) -> Delays:
    """Each takeover from a worker that a fault of this kind silenced, matched by its process id."""
    delays = Delays([], [])
    outages = [fault for fault in evidence.faults if fault.kind == "outage"]
    for takeover in evidence.history.takeovers:
        fault = _last_before(takeover, evidence.faults)
        if fault is not None and fault.kind == kind:
            near = any(_near(fault, outage) for outage in outages)
            (delays.near_outage if near else delays.clear).append((takeover.at - fault.began) / 1000)
    return delays


def _last_before(takeover: Takeover, faults: Sequence[Fault]) -> Fault | None:
    """What befell the worker last: one that was frozen and went on may have been killed later."""
    pid = _pid(takeover.worker)
    met = [fault for fault in faults if fault.pid == pid and fault.began <= takeover.at]
    return max(met, key=lambda fault: fault.began, default=None)


def _kinds(faults: Sequence[Fault]) -> list[str]:
    return sorted({fault.kind for fault in faults})


def _pid(worker: str) -> int:
    """`of-gpu-host-4711-a1b2c3` -> 4711."""
    found = re.search(r"-(\d+)-[0-9a-f]+$", worker)
    return int(found[1]) if found else 0


def _near(fault: Fault, outage: Fault) -> bool:
    return fault.began <= outage.ended + AFTER_OUTAGE * 1000 and fault.began + TAKEOVER * 1000 >= outage.began


def _once(evidence: Evidence) -> Iterator[Promise]:
    accepted, store, results = evidence.accepted, evidence.store, evidence.history.results
    ids = set(accepted)
    there = {job for job in accepted if job in store.answered or job in store.other_result}
    missing = [job for job in accepted if job not in there or not results[job]]
    yield none_of(f"of {len(ids)} accepted jobs, none is without its result", missing)
    yield none_of("no job was given two terminal results", [job for job, count in results.items() if count > 1])
    yield none_of("no result for a job whose receipt nobody had", [job for job in results if job not in ids])
    yield none_of("every result is the answer to its own job", sorted(store.other_result))


def _in_one_place(evidence: Evidence) -> Iterator[Promise]:
    store = evidence.store
    astray = [job for job in evidence.accepted if store.registries[job] != 1]
    yield none_of("every job is in exactly one of rq's terminal registries", astray)
    waiting = [f"{key} ({count})" for key, count in store.waiting.items()]
    yield none_of("nothing is left in a queue, in progress, scheduled or held", waiting)
    yield none_of("no lease is left", [f"{key} ({count})" for key, count in store.leases.items()])
    counted, ended = store.counters.get("accepted", 0), sum(store.counters.get(name, 0) for name in ENDED)
    told = f"{counted} accepted, {ended} ended, {len(set(evidence.accepted))} receipts"
    yield Promise("the counters agree", counted == ended == len(set(evidence.accepted)), told)


def _called(evidence: Evidence) -> Iterator[Promise]:
    calls = evidence.calls
    yield none_of("every answer was asked of the upstream", [j for j in evidence.accepted if not calls.received[j]])
    aimed = [fault for fault in evidence.faults if fault.kind == "aimed"]
    if aimed:
        lost = [fault.job for fault in aimed if fault.job not in evidence.store.answered]
        yield none_of(f"{len(aimed)} jobs that met a frozen, then killed worker were answered", lost)


def _taken_over(evidence: Evidence) -> Iterator[Promise]:
    if not any(fault.kind == "kill" for fault in evidence.faults):
        return
    delays = takeover_delays(evidence, "kill").clear
    slow = [f"{delay:.1f} s" for delay in delays if delay > TAKEOVER]
    seen = spread(delays)
    told = f"p50 {seen['p50']} s, p100 {seen['p100']} s, {len(delays)} jobs" if delays else "no takeover was seen"
    yield Promise(f"kill to requeued within {TAKEOVER:.0f} s", bool(delays) and not slow, told, tuple(slow[:5]))


def _nothing_worse(evidence: Evidence) -> Iterator[Promise]:
    counters = evidence.store.counters
    if any(fault.kind == "frozen" for fault in evidence.faults):
        late = counters.get("late", 0)
        yield Promise("late settles of frozen workers were refused", late > 0, f"{late} refused")
    worse = {
        name: count
        for name, count in counters.items()
        if count and (name.startswith("held_") or name in ("failed", "expired", "cancelled"))
    }
    yield none_of("no job failed, expired or was held", [f"{name} ({count})" for name, count in worse.items()])


def none_of(name: str, found: Sequence[str]) -> Promise:
    """The promise that there is nothing of this kind."""
    return Promise(name, not found, str(len(found)), tuple(found[:5]))


def _aimed_delays(evidence: Evidence) -> list[float]:
    first = evidence.calls.first
    aimed = [fault for fault in evidence.faults if fault.kind == "aimed" and fault.job in first]
    return [(first[fault.job] - fault.began) / 1000 for fault in aimed]


def spread(values: Sequence[float]) -> dict[str, float]:
    """How many, the middle one, and the largest."""
    if not values:
        return {"n": 0}
    ranked = sorted(values)
    return {"n": len(ranked), "p50": round(ranked[len(ranked) // 2], 2), "p100": round(ranked[-1], 2)}
