"""Everything a verdict on a drill rests on: the submitter's ids, the upstreams' own log, and what the server holds.

Nothing of openfall is imported here: keys and shapes are read as they stand in Redis. Moments are epoch milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

AT_ONCE = 500
HISTORY_KEPT = 200
"""Changes of breakers that the server remembers."""


@dataclass(frozen=True)
class Heard:
    """One call as an upstream saw it. `ended` is None while it lasts."""

    upstream: str
    job: str
    probe: bool
    healed: bool
    received: float
    answered: bool = False
    ended: float | None = None


@dataclass(frozen=True)
class Change:
    """One change of a breaker, from the server's history."""

    at: float
    target: str
    after: str
    why: str


@dataclass(frozen=True)
class Case:
    """One drill: the jobs that were put in while `name` was broken and those after, and when it was mended.

    `slots` and `open_after` are what the fleet was configured with; `began` and `healed` are moments.
    """

    name: str
    jobs: Sequence[str]
    after: Sequence[str]
    slots: int
    open_after: int
    began: float
    healed: float


@dataclass
class Evidence:
    """All of it. `claims` are the moments at which a job was handed out to be called at the broken upstream; `moves`,
    by job, the reasons for which it was put elsewhere."""

    case: Case
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    claims: list[float] = field(default_factory=list)
    moves: dict[str, list[str]] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    good: list[Heard] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    cooling: float | None = None
    left: list[str] = field(default_factory=list)


def gather(case: Case, log: Path, client: Any) -> Evidence:
    """Read every witness. `client` decodes responses."""
    evidence = Evidence(case)
    ids = [*case.jobs, *case.after]
    _read_results(evidence, ids, client)
    calls = [call for call in read_log(log) if call.received >= case.began]
    evidence.heard = [call for call in calls if call.upstream == case.name]
    evidence.good = [call for call in calls if call.upstream == "good"]
    evidence.changes = sorted(_changes(case, client), key=lambda change: change.at)
    cooling = client.hget("of:blocked", f"{case.name}/{case.name} cool")
    evidence.cooling = None if cooling is None else float(cooling)
    evidence.left = [job for job in client.zrange("of:unfinished", 0, -1) if job in set(ids)]
    return evidence


def read_log(path: Path) -> list[Heard]:
    """The calls of the upstreams' log, in the order in which they came."""
    calls: dict[int, Heard] = {}
    for line in path.read_text().splitlines():
        told = json.loads(line)
        number = told["call"]
        if told["event"] == "received":
            calls[number] = Heard(told["upstream"], told["job"], told["probe"], told["healed"], told["at"])
        else:
            calls[number] = _ended(calls[number], told)
    return list(calls.values())


def _ended(call: Heard, told: dict[str, Any]) -> Heard:
    answered = told["event"] == "answered"
    return Heard(call.upstream, call.job, call.probe, call.healed, call.received, answered, told["at"])


def _read_results(evidence: Evidence, ids: Sequence[str], client: redis.Redis) -> None:
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        with client.pipeline(transaction=False) as pipe:
            for job in part:
                pipe.get(f"of:result:{job}")
                pipe.lrange(f"of:events:{job}", 0, -1)
            told = pipe.execute()
        for job, result, rows in zip(part, told[::2], told[1::2], strict=True):
            if result is not None:
                evidence.results[job] = json.loads(result)
            events = [json.loads(row) for row in rows]
            evidence.claims += _claims(evidence.case.name, events)
            evidence.moves[job] = [event["why"] for event in events if event.get("why")]
    evidence.claims.sort()


def _claims(backend: str, events: Iterable[dict[str, Any]]) -> list[float]:
    return [float(event["at"]) for event in events if event["event"] == "started" and event.get("backend") == backend]


def _changes(case: Case, client: Any) -> list[Change]:
    """The changes of this upstream's breaker and, from the beginning of the case on, of any key's."""
    rows = [json.loads(row) for row in client.lrange("of:breaker-history", 0, -1)]
    return [
        Change(row["at"], row["target"], row["to"], row["why"])
        for row in rows
        if row["at"] >= case.began and (row["target"] == f"{case.name}/{case.name}" or row["target"].startswith("key:"))
    ]
