"""The verdict on one fault of an upstream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from tests.chaos.judge.evidence import Call, Evidence
from tests.chaos.judge.fault_evidence import Change, FaultEvidence
from tests.chaos.judge.fault_kinds import KINDS, Keeps, Kind
from tests.chaos.judge.promise import MAX_EXAMPLES, PATIENCE, Promise

PROBING_MS = 4000.0 * PATIENCE
"""Closing takes this time beside the open period: a probe under way when the upstream was repaired (at most 1 s here),
a look of a worker (at most 1 s) before each of two probes, the probes themselves, and a busy machine."""


def judge(run: Evidence) -> list[Promise]:
    """Every promise. The examples of a broken one are its violations."""
    evidence = FaultEvidence(run)
    kind = KINDS[evidence.case.name]
    guarded = _cooldown_violations if kind.keeps is Keeps.COOLDOWN else _breaker_violations
    checks = {
        "every job was answered once, by the good upstream": _answer_violations(evidence),
        "every attempt is recorded and explained": _attempt_violations(evidence, kind),
        "one probe at a time": _probe_violations(evidence),
        "the upstream was called only as its breaker or cooldown allowed": guarded(evidence, kind),
        "the repaired upstream is in service": _service_violations(evidence),
    }
    promises = []
    for name, violations in checks.items():
        examples = tuple(violations)
        promises.append(Promise(name, not examples, str(len(examples)), examples))
    return promises


def report(run: Evidence) -> dict[str, Any]:
    """The name of the fault, and its figures."""
    evidence = FaultEvidence(run)
    return {"name": evidence.case.name, "figures": _figures(evidence, KINDS[evidence.case.name])}


def max_calls(evidence: FaultEvidence, kind: Kind) -> int:
    """Calls allowed before the breaker opens: the failures that open it, and the calls then in flight."""
    return (evidence.case.consecutive_failures if kind.keeps is Keeps.RUN else 1) + evidence.case.slots - 1


def _answer_violations(evidence: FaultEvidence) -> Iterator[str]:
    """Every job has one answer: the text of the good upstream for this job."""
    case = evidence.case
    yield from _named("jobs have no result", [job for job in case.jobs if job not in evidence.results])
    yield from _named("jobs are still open", evidence.left)
    ended = [(job, evidence.results[job]) for job in case.jobs if job in evidence.results]
    other = [f"{job} ({result['status']})" for job, result in ended if result["status"] != "answered"]
    yield from _named("jobs did not end answered", other)
    answered = [(job, result) for job, result in ended if result["status"] == "answered"]
    yield from _named(
        "answers are not the good one's", [j for j, result in answered if _text(result) != f"good answers {j}"]
    )
    by_broken = [job for job, result in answered if _answerer(result) != "good"]
    yield from _named("jobs are recorded as answered by another upstream", by_broken)
    served = Counter(call.job for call in evidence.good if call.answered)
    yield from _named("answers are not in the good one's log", [job for job, _ in answered if not served[job]])


def _attempt_violations(evidence: FaultEvidence, kind: Kind) -> Iterator[str]:
    """Every attempt has its reason, a failed one its error; and there is one attempt for each call."""
    wrong, silent = [], [job for job in evidence.case.jobs if job in evidence.results and not _explains(evidence, job)]
    for job in evidence.case.jobs:
        for attempt in evidence.results.get(job, {}).get("attempts", ()):
            error = attempt.get("error")
            fits = error in kind.errors if attempt["backend"] == evidence.case.name else error is None
            if not fits:
                wrong.append(f"{job}: {attempt['backend']}: {error} ({attempt.get('detail', '')})")
            if not attempt.get("why") or (error and not attempt.get("detail")):
                silent.append(job)
    yield from _named("attempts were recorded with another error than the fault's", wrong)
    yield from _named("jobs do not record why the first model of their chain did not answer", silent)
    recorded = sum(attempt["backend"] == evidence.case.name for attempt in _attempts(evidence))
    received = sum(not call.probe and not call.healed for call in evidence.broken)
    if kind.listens and recorded != received:
        yield f"the jobs record {recorded} attempts at it, but its log has {received} calls"


def _explains(evidence: FaultEvidence, job: str) -> bool:
    """Whether an attempt, a reason of an attempt or of a move, or the route names the broken upstream."""
    name, result = evidence.case.name, evidence.results[job]
    reasons = [attempt.get("why", "") for attempt in result["attempts"]] + evidence.moves(job)
    if f"; {name} moved back: " in result.get("reason", ""):
        return True
    return _met(evidence, job) or any(f"{name}:" in why for why in reasons)


def _probe_violations(evidence: FaultEvidence) -> Iterator[str]:
    """One probe at a time."""
    probes = [call for call in evidence.broken if call.probe]
    both = [a.received for a, b in pairwise(probes) if a.ended is None or b.received < a.ended]
    yield from _named("probes went out while another was under way", both)


def _breaker_violations(evidence: FaultEvidence, kind: Kind) -> Iterator[str]:
    """The breaker allows its calls before it opens, then one probe in each half-open period, and nothing else."""
    case, changes = evidence.case, evidence.changes
    if not changes or changes[0].after != "open":
        yield "its breaker never opened"
        return
    early = [change.at for change in changes if change.after == "closed" and change.at < case.healed]
    yield from _named("times its breaker closed while it was broken", early)
    opened = changes[0].at
    before = [at for at in evidence.claims if at <= opened]
    if len(before) > (limit := max_calls(evidence, kind)):
        yield f"{len(before)} jobs were claimed for it before its breaker opened, not {limit} at most"
    closed = _closed_at(evidence)
    until = closed if closed is not None else float("inf")
    yield from _named("jobs were claimed for it while its breaker was open",
                      [at for at in evidence.claims if opened < at < until])  # fmt: skip
    late = [
        call.job
        for call, claimed in _calls_with_claims(evidence)
        if opened < call.received < until and claimed > opened
    ]
    yield from _named("calls arrived at it while its breaker was open", late)
    periods = sum(change.after == "half_open" and change.at < case.healed for change in changes)
    probes = sum(call.probe and not call.healed for call in evidence.broken)
    if probes > periods:
        yield f"{probes} probes arrived in {periods} half-open periods"
    yield from _closed_in_time(evidence, closed)


def _calls_with_claims(evidence: FaultEvidence) -> Iterator[tuple[Call, float]]:
    """Each call of a job with the moment of its claim; infinity for a call without a claim of its own."""
    used: Counter[str] = Counter()
    for call in (call for call in evidence.broken if not call.probe):
        claims = evidence.claims_by_job.get(call.job, [])
        yield call, claims[used[call.job]] if used[call.job] < len(claims) else float("inf")
        used[call.job] += 1


def _closed_in_time(evidence: FaultEvidence, closed: float | None) -> Iterator[str]:
    if closed is None:
        yield "its breaker did not close after its repair"
    elif (took := closed - evidence.case.healed) > (limit := open_period(evidence.changes) + PROBING_MS):
        yield f"its breaker closed {took / 1000:.1f} s after its repair, not within {limit / 1000:.1f} s"


def open_period(changes: Sequence[Change]) -> float:
    """Milliseconds of the last period in which the breaker was open: until a probe was handed out, or until now."""
    opened = [change.at for change in changes if change.after == "open"]
    probed = [change.at for change in changes if change.after == "half_open" and opened and change.at >= opened[-1]]
    return probed[0] - opened[-1] if probed else 0.0


def _cooldown_violations(evidence: FaultEvidence, kind: Kind) -> Iterator[str]:
    """No breaker opens. In any time as long as the requested wait, each slot is used at most once."""
    yield from _named("times a breaker opened", [change.why for change in evidence.changes if change.after == "open"])
    claims = [at for job in evidence.case.jobs for at in evidence.claims_by_job[job]]
    peak = max((_count_within(claims, at, kind.wait * 1000) for at in claims), default=0)
    if peak > evidence.case.slots:
        yield f"{peak} jobs were claimed for it within {kind.wait:g} s, not {evidence.case.slots} at most"
    if evidence.cools:
        yield "its cooldown is still recorded, although it is over"


def _service_violations(evidence: FaultEvidence) -> Iterator[str]:
    """The repaired upstream answers its jobs."""
    answerers = {
        job: _answerer(evidence.results[job]) if job in evidence.results else "" for job in evidence.case.after
    }
    wrong = [f"{job} ({by or 'no result'})" for job, by in answerers.items() if by != evidence.case.name]
    yield from _named("jobs submitted after its repair were not answered by it", wrong)


def _figures(evidence: FaultEvidence, kind: Kind) -> dict[str, Any]:
    case, closed = evidence.case, _closed_at(evidence)
    took = sorted(result["took"] for job, result in evidence.results.items() if job in set(case.jobs))
    good = sum(not call.probe for call in evidence.good)
    return {
        "jobs": len(case.jobs),
        "answered": sum(
            result["status"] == "answered" for job, result in evidence.results.items() if job in set(case.jobs)
        ),
        "claims": sum(at < case.healed for at in evidence.claims),
        "calls": sum(not call.probe and not call.healed for call in evidence.broken) if kind.listens else None,
        "allowed": f"{case.slots} in {kind.wait:g} s" if kind.keeps is Keeps.COOLDOWN else max_calls(evidence, kind),
        "probes": sum(call.probe and not call.healed for call in evidence.broken) if kind.listens else None,
        "opened": sum(change.after == "open" for change in evidence.changes),
        "closed_after_s": None if closed is None else round((closed - case.healed) / 1000, 2),
        "open_period_s": round(open_period(evidence.changes) / 1000, 2),
        "p50_s": round(took[len(took) // 2], 2) if took else None,
        "p100_s": round(took[-1], 2) if took else None,
        "good_calls_per_job": round(good / max(1, len(case.jobs)), 3),
        "sample": next((story(evidence, job) for job in case.jobs if _met(evidence, job)), ""),
        "errors": dict(Counter(a["error"] for a in _attempts(evidence) if a["backend"] == case.name and "error" in a)),
    }


def story(evidence: FaultEvidence, job: str) -> str:
    """The story of one job: each attempt with its reason, and the reasons of its moves."""
    parts = [str(evidence.results[job].get("reason", ""))]
    for attempt in evidence.results[job]["attempts"]:
        ending = f"{attempt['error']} ({attempt['detail']})" if attempt.get("error") else "answered"
        parts.append(f"{attempt['backend']}, {attempt['why']}: {ending}")
    return f"{job}: {'; '.join(parts)}. Moved: {'; '.join(evidence.moves(job))}"


def _met(evidence: FaultEvidence, job: str) -> bool:
    attempts = evidence.results.get(job, {}).get("attempts", [])
    return any(attempt["backend"] == evidence.case.name for attempt in attempts)


def _closed_at(evidence: FaultEvidence) -> float | None:
    """When all of its breakers had closed for the last time."""
    last: dict[str, Change] = {change.target: change for change in evidence.changes}
    if not last or any(change.after != "closed" for change in last.values()):
        return None
    return max(change.at for change in last.values())


def _attempts(evidence: FaultEvidence) -> list[dict[str, Any]]:
    lists = (evidence.results.get(job, {}).get("attempts", []) for job in evidence.case.jobs)
    return [attempt for attempts in lists for attempt in attempts]


def _count_within(moments: Sequence[float], start: float, length: float) -> int:
    return sum(start <= at < start + length for at in moments)


def _answerer(result: dict[str, Any]) -> str:
    """The recorded answerer: the backend of the only attempt without an error."""
    answerers = [str(attempt["backend"]) for attempt in result["attempts"] if not attempt.get("error")]
    return answerers[-1] if len(answerers) == 1 else ""


def _text(result: dict[str, Any]) -> str:
    return str(result["body"]["choices"][0]["message"]["content"]).strip()


def _named(what: str, offenders: Sequence[object]) -> Iterator[str]:
    if offenders:
        yield f"{len(offenders)} {what}: {', '.join(map(str, offenders[:MAX_EXAMPLES]))}"
