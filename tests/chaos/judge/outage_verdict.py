"""The verdict on an outage run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tests.chaos.judge.delivery import delivery_promises, get_fate
from tests.chaos.judge.evidence import Call, Evidence
from tests.chaos.judge.notification_checks import (
    degraded_to_notified,
    fallen_to_decided,
    notification_promises,
    submitted_to_notified,
)
from tests.chaos.judge.promise import MAX_EXAMPLES, Promise, none_of, percentiles
from tests.chaos.judge.release_ramp import Release, max_overlap, ramp, releases


def judge(evidence: Evidence) -> list[Promise]:
    """Every promise of the run."""
    return [
        *delivery_promises(evidence),
        *_degrade_promises(evidence),
        *_fall_promises(evidence),
        *notification_promises(evidence),
        *_ramp_promises(evidence),
    ]


def report(evidence: Evidence) -> dict[str, Any]:
    """The account of every job, and the figures beside the promises."""
    waited, inbox = degraded_to_notified(evidence, "wait"), degraded_to_notified(evidence, "inbox")
    decided = fallen_to_decided(evidence)
    figures = {
        "decided to notified, waiting caller (interactive)": percentiles(waited.clear),
        "the same, near a kill of Valkey": percentiles(waited.disturbed),
        "decided to read from the inbox (interactive)": percentiles(inbox.clear),
        "fallen to decided (interactive)": percentiles(decided.clear),
        "the same, near a kill of Valkey or a degrade worker": percentiles(decided.disturbed),
        "submitted to notified, while every backend was away (interactive)": percentiles(
            submitted_to_notified(evidence)
        ),
        "calls per job": round(len(evidence.calls) / max(1, len(evidence.accepted)), 3),
        "falls": len(evidence.history.falls),
        "changes to the notice": sum(post["method"] == "PATCH" for post in evidence.posts),
        "webhooks delivered": sum(hook["status"] < 300 for hook in evidence.hooks),
        "webhooks sent again": len(evidence.hooks) - len({hook["id"] for hook in evidence.hooks}),
        "killed": dict(Counter(fault.kind for fault in evidence.faults)),
    }
    return {"figures": figures, "account": account(evidence)}


def account(evidence: Evidence) -> dict[str, dict[str, int]]:
    """The number of jobs of each urgency with each fate."""
    fates: dict[str, Counter[str]] = defaultdict(Counter)
    for job in evidence.accepted:
        fates[job.urgency][get_fate(evidence, job.id)] += 1
    return {urgency: dict(counts) for urgency, counts in fates.items()}


def _degrade_promises(evidence: Evidence) -> Iterator[Promise]:
    brief = {job.id for job in evidence.accepted if job.role == evidence.case["brief"]}
    degraded = [job for job, result in evidence.results.items() if result["status"] == "degraded"]
    yield none_of(
        "only jobs of the role that wants a quick reply ended degraded",
        [*filter(lambda job: job not in brief, degraded)],
    )


def _fall_promises(evidence: Evidence) -> Iterator[Promise]:
    recorded = Counter(fall["id"] for fall in evidence.history.falls)
    wrong = []
    for job in {job.id for job in evidence.accepted} | set(recorded):
        story = evidence.history.stories.get(job, [])
        fell = sum(event["event"] == "fallen" for event in story)
        if not fell - _overtaken(story) <= recorded[job] <= fell:
            wrong.append(f"{job}: fell {fell} times, recorded {recorded[job]}")
    yield none_of(f"each of {len(evidence.history.falls)} falls was recorded once", sorted(wrong))
    counted = sum(int(finding.get("falls", 0)) for finding in evidence.incidents.values())
    finding = f"{counted} counted, {len(evidence.history.falls)} recorded"
    yield Promise("the incidents count every fall once", counted == len(evidence.history.falls), finding)
    replayed = sum(int(finding.get("replayed", 0)) for finding in evidence.incidents.values())
    released = sum(release.job in recorded for release in releases(evidence.history.stories))
    yield Promise(
        "the incidents count every replay once", replayed == released, f"{replayed} counted, {released} released"
    )


def _overtaken(story: list[dict[str, Any]]) -> bool:
    """The last fall was followed by an end and nothing else: a late answer arrived before the fall was handled."""
    last = max((place for place, event in enumerate(story) if event["event"] == "fallen"), default=None)
    return last is not None and {event["event"] for event in story[last + 1 :]} == {"done"}


def _ramp_promises(evidence: Evidence) -> Iterator[Promise]:
    """Each recovered model got its held jobs back at the configured pace, by their stories and by its own log."""
    all_releases = releases(evidence.history.stories)
    for backend, model in evidence.case["upstreams"].items():
        opened = [
            float(row["at"])
            for row in evidence.history.breaker_changes
            if row["target"] == f"{backend}/{model}" and row["to"] == "open"
        ]
        first, limit = evidence.case["release_first"], evidence.case["release_limit"]
        observed = ramp(model, all_releases, opened, first, limit)
        finding = f"{observed.released} released, {observed.peak} at once at most"
        name = f"{model} got {first} held job first, one more for each answer, {limit} at most"
        yield Promise(
            name, bool(observed.released) and not observed.breaches, finding, observed.breaches[:MAX_EXAMPLES]
        )
        calls = max_overlap(
            _calls_of(evidence.calls, backend, [release for release in all_releases if release.model == model])
        )
        yield Promise(f"{backend} got no more of them at once, by its own log", calls <= limit, f"{calls} at most")


def _calls_of(calls: Iterable[Call], backend: str, released: list[Release]) -> Iterator[tuple[float, float]]:
    """The calls to a backend for the jobs that its model had released."""
    spans: dict[str, list[Release]] = defaultdict(list)
    for release in released:
        spans[release.job].append(release)
    for call in calls:
        at, ended = call.received, call.ended
        mine = call.upstream == backend and any(span.began <= at <= (span.ended or at) for span in spans[call.job])
        if mine and call.answered and ended is not None:
            yield at, ended
