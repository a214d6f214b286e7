"""From evidence to a verdict on one drill: everything that should not have been, and the figures.

Nothing of openfall is imported here. Moments are epoch milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.fault_drilling.evidence import Change, Evidence
from benchmarks.fault_drilling.kinds import KINDS, Keeps, Kind

UNDERWAY = 1000.0
"""Milliseconds that a call claimed before a breaker opened may take to arrive at its upstream on a busy machine."""

PROBING = 4000.0
"""Milliseconds for what comes beside the open period after healing: a probe that was under way when it healed (1 s at
most here), a worker's look (1 s at most) before each of two probes, the probes themselves, and a busy machine."""

NAMED = 5


@dataclass(frozen=True)
class Verdict:
    """What a drill came to. It was borne when there are no `violations`."""

    name: str
    violations: tuple[str, ...]
    figures: dict[str, Any]


def judge(evidence: Evidence) -> Verdict:
    """Look at everything."""
    kind = KINDS[evidence.case.name]
    found = [
        *_answered(evidence),
        *_explained(evidence, kind),
        *_probes(evidence),
        *(_cooled(evidence, kind) if kind.keeps is Keeps.COOLDOWN else _guarded(evidence, kind)),
        *_in_service_again(evidence),
    ]
    return Verdict(evidence.case.name, tuple(found), _figures(evidence, kind))


def most_calls(evidence: Evidence, kind: Kind) -> int:
    """Calls that may be made before the breaker opens: the failures that it takes, and those then under way."""
    return (evidence.case.open_after if kind.keeps is Keeps.RUN else 1) + evidence.case.slots - 1


def _answered(evidence: Evidence) -> Iterator[str]:
    """Every job has one answer, and it is the good upstream's own words for this job."""
    case = evidence.case
    yield from _named("jobs have no result", [job for job in case.jobs if job not in evidence.results])
    yield from _named("jobs are still open", evidence.left)
    ended = [(job, evidence.results[job]) for job in case.jobs if job in evidence.results]
    other = [f"{job} ({result['status']})" for job, result in ended if result["status"] != "answered"]
    yield from _named("jobs did not end answered", other)
    answered = [(job, result) for job, result in ended if result["status"] == "answered"]
    yield from _named(
        "answers are not the good one's", [j for j, told in answered if _text(told) != f"good answers {j}"]
    )
    by_broken = [job for job, told in answered if _by(told) != "good"]
    yield from _named("jobs are marked answered by another than the good one", by_broken)
    served = Counter(call.job for call in evidence.good if call.answered)
    yield from _named("answers are not in the good one's log", [job for job, _ in answered if not served[job]])


def _explained(evidence: Evidence, kind: Kind) -> Iterator[str]:
    """Every attempt tells why it was made; a failed one, what it met; and there is one for every call."""
    wrong, silent = [], [job for job in evidence.case.jobs if job in evidence.results and not _tells(evidence, job)]
    for job in evidence.case.jobs:
        for attempt in evidence.results.get(job, {}).get("attempts", ()):
            error = attempt.get("error")
            fits = error in kind.errors if attempt["backend"] == evidence.case.name else error is None
            if not fits:
                wrong.append(f"{job}: {attempt['backend']}: {error} ({attempt.get('detail', '')})")
            if not attempt.get("why") or (error and not attempt.get("detail")):
                silent.append(job)
    yield from _named("attempts were recorded with another error than the fault's", wrong)
    yield from _named("jobs do not tell why the first of their chain did not answer", silent)
    told = sum(attempt["backend"] == evidence.case.name for attempt in _attempts(evidence))
    heard = sum(not call.probe and not call.healed for call in evidence.heard)
    if kind.listens and told != heard:
        yield f"the jobs tell of {told} attempts at it, but it heard {heard} calls"


def _tells(evidence: Evidence, job: str) -> bool:
    """Whether an attempt at the broken one, the reason of a later one, or of a move, names it."""
    attempts = evidence.results[job]["attempts"]
    told = [attempt.get("why", "") for attempt in attempts] + evidence.moves.get(job, [])
    name = evidence.case.name
    return any(attempt["backend"] == name for attempt in attempts) or any(f"{name}:" in why for why in told)


def _probes(evidence: Evidence) -> Iterator[str]:
    """One probe at a time, and none that a caller's job would have been."""
    probes = [call for call in evidence.heard if call.probe]
    both = [a.received for a, b in pairwise(probes) if a.ended is None or b.received < a.ended]
    yield from _named("probes went out while another was under way", both)


def _guarded(evidence: Evidence, kind: Kind) -> Iterator[str]:
    """What the breaker allowed: its calls before it opened, then one probe in each period, and nothing else."""
    case, changes = evidence.case, evidence.changes
    if not changes or changes[0].after != "open":
        yield "its breaker never opened"
        return
    early = [change.at for change in changes if change.after == "closed" and change.at < case.healed]
    yield from _named("times its breaker closed while it was broken", early)
    opened = changes[0].at
    before = [at for at in evidence.claims if at <= opened]
    if len(before) > (most := most_calls(evidence, kind)):
        yield f"{len(before)} jobs were handed out to it before its breaker opened, not {most} at most"
    closed = _closed_at(evidence)
    until = closed if closed is not None else float("inf")
    yield from _named("jobs were handed out to it while its breaker was open",
                      [at for at in evidence.claims if opened < at < until])  # fmt: skip
    late = [c.job for c in evidence.heard if not c.probe and opened + UNDERWAY < c.received < until]
    yield from _named("calls came to it while its breaker was open", late)
    periods = sum(change.after == "half_open" and change.at < case.healed for change in changes)
    probes = sum(call.probe and not call.healed for call in evidence.heard)
    if probes > periods:
        yield f"{probes} probes came in {periods} half-open periods"
    yield from _closed_in_time(evidence, closed)


def _closed_in_time(evidence: Evidence, closed: float | None) -> Iterator[str]:
    if closed is None:
        yield "its breaker did not close after it had healed"
    elif (took := closed - evidence.case.healed) > (most := open_period(evidence.changes) + PROBING):
        yield f"its breaker closed {took / 1000:.1f} s after it had healed, not within {most / 1000:.1f} s"


def open_period(changes: Sequence[Change]) -> float:
    """Milliseconds of the last period in which the breaker was open: until a probe was handed out, or until now."""
    opened = [change.at for change in changes if change.after == "open"]
    probed = [change.at for change in changes if change.after == "half_open" and opened and change.at >= opened[-1]]
    return probed[0] - opened[-1] if probed else 0.0


def _cooled(evidence: Evidence, kind: Kind) -> Iterator[str]:
    """No breaker opened; in any time as long as the wait that was asked for, its slots were taken once at most."""
    yield from _named("times a breaker opened", [change.why for change in evidence.changes if change.after == "open"])
    most = max((_within(evidence.claims, at, kind.wait * 1000) for at in evidence.claims), default=0)
    if most > evidence.case.slots:
        yield f"{most} jobs were handed out to it within {kind.wait:g} s, not {evidence.case.slots} at most"
    if evidence.cooling is not None:
        yield "its cooldown is still noted, though it is over"


def _in_service_again(evidence: Evidence) -> Iterator[str]:
    """After it has healed it answers what comes for it."""
    told = {job: _by(evidence.results[job]) if job in evidence.results else "" for job in evidence.case.after}
    wrong = [f"{job} ({by or 'no result'})" for job, by in told.items() if by != evidence.case.name]
    yield from _named("jobs put in after it had healed were not answered by it", wrong)


def _figures(evidence: Evidence, kind: Kind) -> dict[str, Any]:
    case, closed = evidence.case, _closed_at(evidence)
    took = sorted(told["took"] for job, told in evidence.results.items() if job in set(case.jobs))
    good = sum(not call.probe for call in evidence.good)
    return {
        "jobs": len(case.jobs),
        "answered": sum(
            told["status"] == "answered" for job, told in evidence.results.items() if job in set(case.jobs)
        ),
        "claims": sum(at < case.healed for at in evidence.claims),
        "calls": sum(not call.probe and not call.healed for call in evidence.heard) if kind.listens else None,
        "allowed": f"{case.slots} in {kind.wait:g} s" if kind.keeps is Keeps.COOLDOWN else most_calls(evidence, kind),
        "probes": sum(call.probe and not call.healed for call in evidence.heard) if kind.listens else None,
        "opened": sum(change.after == "open" for change in evidence.changes),
        "closed_after_s": None if closed is None else round((closed - case.healed) / 1000, 2),
        "open_period_s": round(open_period(evidence.changes) / 1000, 2),
        "p50_s": round(took[len(took) // 2], 2) if took else None,
        "p100_s": round(took[-1], 2) if took else None,
        "good_calls_per_job": round(good / max(1, len(case.jobs)), 3),
        "errors": dict(Counter(a["error"] for a in _attempts(evidence) if a["backend"] == case.name and "error" in a)),
    }


def _closed_at(evidence: Evidence) -> float | None:
    """When all of its breakers had closed for the last time."""
    last: dict[str, Change] = {change.target: change for change in evidence.changes}
    if not last or any(change.after != "closed" for change in last.values()):
        return None
    return max(change.at for change in last.values())


def _attempts(evidence: Evidence) -> list[dict[str, Any]]:
    told = (evidence.results.get(job, {}).get("attempts", []) for job in evidence.case.jobs)
    return [attempt for attempts in told for attempt in attempts]


def _within(moments: Sequence[float], start: float, length: float) -> int:
    return sum(start <= at < start + length for at in moments)


def _by(result: dict[str, Any]) -> str:
    """Who is told to have answered: the backend of the attempt that has no error."""
    told = [str(attempt["backend"]) for attempt in result["attempts"] if not attempt.get("error")]
    return told[-1] if len(told) == 1 else ""


def _text(result: dict[str, Any]) -> str:
    return str(result["body"]["choices"][0]["message"]["content"]).strip()


def _named(what: str, found: Sequence[object]) -> Iterator[str]:
    if found:
        yield f"{len(found)} {what}: {', '.join(map(str, found[:NAMED]))}"
