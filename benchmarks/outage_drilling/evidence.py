"""Everything a verdict on an outage rests on: the submitter's own files, the upstreams' and the notifier's own logs,
what was done to whom, and what the server holds and wrote down.

Nothing of openfall is imported here: keys and shapes are read as they stand in Redis. Moments are epoch milliseconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.outage_drilling.written import Written, read

ENDS = ("finished", "failed", "canceled")
"""rq's terminal registries."""

WAITING_SETS = ("rq:wip:*", "rq:scheduled:*", "of:scheduled:*", "of:suspects:*", "of:leases:*", "of:outbox")
AT_ONCE = 500


@dataclass(frozen=True)
class Case:
    """What the fleet was configured with, as far as the verdict rests on it.

    `upstreams`: backend -> its model. `brief`: the role whose callers take a reply for an end.
    """

    upstreams: dict[str, str]
    brief: str
    release_first: int
    release_most: int


@dataclass(frozen=True)
class Accepted:
    """A job whose receipt the submitter had in its hands."""

    id: str
    role: str
    urgency: str
    way: str


@dataclass(frozen=True)
class Heard:
    """What a caller was told, and when. `decided` is the moment that the event itself names (0: it names none)."""

    job: str
    by: str
    event: str
    at: float
    decided: float
    status: str


@dataclass(frozen=True)
class Call:
    """One call as an upstream saw it. `ended` None: it was killed, or left, before it had answered."""

    upstream: str
    job: str
    received: float
    ended: float | None = None


@dataclass(frozen=True)
class Fault:
    """What was done to whom."""

    kind: str
    began: float
    ended: float


@dataclass
class Held:
    """What the server shows of a job that has no result."""

    state: str = ""
    reason: str = ""
    parked: bool = False


@dataclass
class Evidence:
    """All of it."""

    case: Case
    accepted: list[Accepted]
    heard: list[Heard] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    """What the notifier was asked, in order: at, method, status, text."""
    hooks: list[dict[str, Any]] = field(default_factory=list)
    """What the receiver of webhooks was sent, in order: at, id, status, job, kind, body (a digest)."""
    faults: list[Fault] = field(default_factory=list)
    written: Written = field(default_factory=Written)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    registries: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, int] = field(default_factory=dict)
    incidents: dict[str, dict[str, str]] = field(default_factory=dict)


def gather(case: Case, directory: Path, client: Any) -> Evidence:
    """Read every witness in the directory of a drill. `client` decodes responses."""
    evidence = Evidence(case, [Accepted(**told) for told in lines(directory / "accepted.jsonl")])
    evidence.heard = [Heard(**told) for told in lines(directory / "heard.jsonl")]
    evidence.calls = [call for name in case.upstreams for call in _calls(directory, name)]
    evidence.posts = list(lines(directory / "notifier.jsonl"))
    evidence.hooks = list(lines(directory / "hooks.jsonl"))
    evidence.faults = [_fault(told) for told in lines(directory / "faults.jsonl")]
    evidence.written = read(directory / "appendonlydir")
    _read_server(evidence, client)
    return evidence


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file, without a last one that a kill has torn; none when there is no file."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _fault(told: dict[str, Any]) -> Fault:
    return Fault(told["kind"], told["began"], told.get("ended", told["began"]))


def _calls(directory: Path, name: str) -> Iterator[Call]:
    """The calls of a backend: each start of it wrote a log of its own, for its numbers begin anew."""
    for path in sorted(directory.glob(f"calls-{name}-*.jsonl")):
        calls: dict[int, Call] = {}
        for told in lines(path):
            at = told["wall"] * 1000
            if told["event"] == "received":
                calls[told["call"]] = Call(name, told["job"], at)
            elif told["event"] == "answered" and told["call"] in calls:
                call = calls[told["call"]]
                calls[told["call"]] = Call(name, call.job, call.received, at)
        yield from calls.values()


def _read_server(evidence: Evidence, client: Any) -> None:
    ids = [job.id for job in evidence.accepted]
    for start in range(0, len(ids), AT_ONCE):
        _read_jobs(evidence, ids[start : start + AT_ONCE], client)
    for key in client.smembers("rq:queues"):
        for end in ENDS:
            evidence.registries.update(client.zrange(f"rq:{end}:{key.removeprefix('rq:queue:')}", 0, -1))
    sizes = {key: client.llen(key) for key in client.scan_iter("rq:queue:*", count=1000)}
    for pattern in WAITING_SETS:
        sizes.update({key: client.zcard(key) for key in client.scan_iter(pattern, count=1000)})
    evidence.waiting = {key: int(size) for key, size in sizes.items() if size}
    for key in client.scan_iter("of:incident:*", count=1000):
        evidence.incidents[key.removeprefix("of:incident:")] = client.hgetall(key)


def _read_jobs(evidence: Evidence, part: Sequence[str], client: Any) -> None:
    with client.pipeline(transaction=False) as pipe:
        for job in part:
            pipe.get(f"of:result:{job}")
            pipe.hmget(f"of:job:{job}", "state", "held_for")
            pipe.zscore("rq:deferred:degrade", job)
        told = pipe.execute()
    for job, result, (state, reason), parked in zip(part, told[::3], told[1::3], told[2::3], strict=True):
        if result is not None:
            evidence.results[job] = json.loads(result)
        if state != "done":
            evidence.held[job] = Held(state or "", reason or "", parked is not None)
