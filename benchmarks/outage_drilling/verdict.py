"""From evidence to a verdict on an outage: each promise, whether it was kept, and where every job is.

Nothing of openfall is imported here. Moments are epoch milliseconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.outage_drilling.evidence import Call, Evidence
from benchmarks.outage_drilling.notices import notices
from benchmarks.outage_drilling.ramp import Release, at_once, ramp, releases
from benchmarks.outage_drilling.telling import told_promises
from benchmarks.torture_checker.verdict import Promise, none_of

FATES = ("answered", "answered after a fall", "degraded", "held", "failed", "expired", "cancelled", "lost")
"""Where a job can be at the end of a drill; every accepted one is in exactly one of these."""


def judge(evidence: Evidence) -> list[Promise]:
    """Every promise of the drill."""
    return [
        *_once(evidence),
        *_true(evidence),
        *_falls(evidence),
        *told_promises(evidence),
        *notices(evidence),
        *_slowly(evidence),
    ]


def account(evidence: Evidence) -> dict[str, Counter[str]]:
    """How many jobs of each urgency met each fate."""
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for job in evidence.accepted:
        told[job.urgency][fate(evidence, job.id)] += 1
    return dict(told)


def fate(evidence: Evidence, job: str) -> str:
    """Where a job is at the end."""
    result = evidence.results.get(job)
    if result is not None:
        status = str(result["status"])
        return "answered after a fall" if status == "answered" and _fell(evidence, job) else status
    held = evidence.held.get(job)
    return "held" if held and held.state == "held" and held.reason and held.parked else "lost"


def _fell(evidence: Evidence, job: str) -> bool:
    return any(event["event"] == "fallen" for event in evidence.written.stories.get(job, ()))


def _once(evidence: Evidence) -> Iterator[Promise]:
    fates = {job.id: fate(evidence, job.id) for job in evidence.accepted}
    lost = [job for job, came in fates.items() if came == "lost"]
    yield none_of(f"of {len(fates)} accepted jobs, none is lost", lost)
    results = evidence.written.results
    yield none_of("no job was given two terminal results", [job for job in fates if results[job] > 1])
    unwritten = [job for job in evidence.results if not results[job]]
    yield none_of("every result is in the server's own log", unwritten)
    ended = [job for job, came in fates.items() if came not in ("held", "lost")]
    astray = [job for job in ended if evidence.registries[job] != 1 or job in evidence.held]
    yield none_of("every job that ended is in one of rq's registries, and nowhere else", astray)
    bad = [f"{job} ({came})" for job, came in fates.items() if came in ("failed", "expired", "cancelled")]
    yield none_of("no job failed or expired for want of a backend", bad)
    left = [f"{key} ({size})" for key, size in evidence.waiting.items()]
    yield none_of("nothing is left in a queue, in progress, or waiting to be posted", left)


def _true(evidence: Evidence) -> Iterator[Promise]:
    roles = {job.id: job.role for job in evidence.accepted}
    answered = {job: told for job, told in evidence.results.items() if told["status"] == "answered"}
    asked = {call.job for call in evidence.calls if call.ended is not None}
    mixed = [job for job, told in answered.items() if text_of(told) != f"This is the answer to {job}"]
    yield none_of("every answer is the answer to its own job", mixed)
    unasked = [job for job in answered if job not in asked]
    yield none_of("every answer was given by an upstream, by its own log", unasked)
    brief = evidence.case.brief
    wrong = [job for job, told in evidence.results.items() if told["status"] == "degraded" and roles.get(job) != brief]
    yield none_of("no job ended degraded whose caller would rather have waited", wrong)


def _falls(evidence: Evidence) -> Iterator[Promise]:
    recorded = Counter(fall["id"] for fall in evidence.written.falls)
    wrong = []
    for job in {job.id for job in evidence.accepted} | set(recorded):
        story = evidence.written.stories.get(job, [])
        fell = sum(event["event"] == "fallen" for event in story)
        if not fell - _caught(story) <= recorded[job] <= fell:
            wrong.append(f"{job}: fell {fell} times, recorded {recorded[job]}")
    yield none_of(f"each of {len(evidence.written.falls)} falls was recorded once", sorted(wrong))
    counted = sum(int(told.get("falls", 0)) for told in evidence.incidents.values())
    told = f"{counted} counted, {len(evidence.written.falls)} recorded"
    yield Promise("the incidents count every fall once", counted == len(evidence.written.falls), told)
    replayed = sum(int(told.get("replayed", 0)) for told in evidence.incidents.values())
    released = sum(release.job in recorded for release in releases(evidence.written.stories))
    yield Promise("the incidents count every replay once", replayed == released, f"{replayed} counted, {released} seen")


def _caught(story: list[dict[str, Any]]) -> bool:
    """The last fall was followed by an end and nothing else: a late answer came before anybody had looked at it."""
    last = max((place for place, event in enumerate(story) if event["event"] == "fallen"), default=None)
    return last is not None and {event["event"] for event in story[last + 1 :]} == {"done"}


def _slowly(evidence: Evidence) -> Iterator[Promise]:
    """Each healed model got its held jobs back as slowly as was configured: by their stories, and by its own log."""
    found = releases(evidence.written.stories)
    for backend, model in evidence.case.upstreams.items():
        opened = [
            float(row["at"])
            for row in evidence.written.changes
            if row["target"] == f"{backend}/{model}" and row["to"] == "open"
        ]
        first, most = evidence.case.release_first, evidence.case.release_most
        seen = ramp(model, found, opened, first, most)
        told = f"{seen.released} released, {seen.most} at once at most"
        name = f"{model} got {first} held job first, one more for each answered, {most} at most"
        yield Promise(name, bool(seen.released) and not seen.breaches, told, seen.breaches[:5])
        calls = at_once(_calls_of(evidence.calls, backend, [one for one in found if one.model == model]))
        yield Promise(f"{backend} heard no more of them at once, by its own log", calls <= most, f"{calls} at most")


def _calls_of(calls: Iterable[Call], backend: str, found: list[Release]) -> Iterator[tuple[float, float]]:
    """The calls that a backend got for what its model had released."""
    spans: dict[str, list[Release]] = defaultdict(list)
    for release in found:
        spans[release.job].append(release)
    for call in calls:
        at, ended = call.received, call.ended
        mine = call.upstream == backend and any(one.began <= at <= (one.ended or at) for one in spans[call.job])
        if mine and ended is not None:
            yield at, ended


def text_of(result: dict[str, Any]) -> str:
    """The words of an answer; empty when there are none."""
    choices = (result.get("body") or {}).get("choices") or [{}]
    return str(choices[0].get("message", {}).get("content") or "")
