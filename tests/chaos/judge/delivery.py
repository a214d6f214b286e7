"""The promises of every run: each accepted job has exactly one end, the right one, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.chaos.judge.evidence import Evidence
from tests.chaos.judge.promise import Promise, none_of

FATES = ("answered", "answered after a fall", "degraded", "held", "failed", "expired", "cancelled", "lost")
"""The state of a job at the end of a run; every accepted job has exactly one of these."""


def get_fate(evidence: Evidence, job: str) -> str:
    """The state of a job at the end."""
    result = evidence.results.get(job)
    if result is not None:
        status = str(result["status"])
        return "answered after a fall" if status == "answered" and _fell(evidence, job) else status
    unfinished = evidence.unfinished.get(job)
    return "held" if unfinished and unfinished.held else "lost"


def _fell(evidence: Evidence, job: str) -> bool:
    return any(event["event"] == "fallen" for event in evidence.history.stories.get(job, ()))


def delivery_promises(evidence: Evidence) -> Iterator[Promise]:
    """Exactly one end for each job, in one place, and nothing left over."""
    fates = {job: get_fate(evidence, job) for job in evidence.ids}
    results = evidence.history.results
    yield none_of(f"of {len(fates)} accepted jobs, none is lost", [job for job in fates if fates[job] == "lost"])
    yield none_of("no job was given two terminal results", [job for job, count in results.items() if count > 1])
    unwritten = [job for job in evidence.results if not results[job]]
    yield none_of("every result is in the server's own log", unwritten)
    ended = [job for job, fate in fates.items() if fate not in ("held", "lost")]
    astray = [job for job in ended if evidence.registries[job] != 1 or job in evidence.unfinished]
    yield none_of("every job that ended is in exactly one of rq's terminal registries", astray)
    bad = [f"{job} ({fate})" for job, fate in fates.items() if fate in ("failed", "expired", "cancelled")]
    yield none_of("no job failed, expired or was cancelled", bad)
    held = sum(fate == "held" for fate in fates.values())
    expected = {"rq:deferred:degrade": held, "of:unfinished": held}
    left = [f"{key} ({size})" for key, size in evidence.waiting.items() if size != expected.get(key, 0)]
    yield none_of("nothing is left in a queue, in progress, leased, or waiting to be posted", left)
    yield from _answer_promises(evidence)


def _answer_promises(evidence: Evidence) -> Iterator[Promise]:
    answered = {job: result for job, result in evidence.results.items() if result["status"] == "answered"}
    # An upstream that is killed just after it has sent an answer has no line of it: its call has no end.
    served = {call.job for call in evidence.calls if call.answered or call.ended is None}
    mixed = [job for job, result in answered.items() if get_text(result) != f"This is the answer to {job}"]
    yield none_of("every answer is the answer to its own job", mixed)
    unserved = [job for job in answered if job not in served]
    yield none_of("every answer was given by an upstream, by its own log", unserved)


def get_text(result: dict[str, Any]) -> str:
    """The text of an answer; empty if there is none."""
    choices = (result.get("body") or {}).get("choices") or [{}]
    return str(choices[0].get("message", {}).get("content") or "")
