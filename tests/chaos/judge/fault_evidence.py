"""The evidence of one fault: the case, the upstreams' own log, and what the server holds. Moments are epoch ms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.chaos.judge.evidence import BATCH_SIZE, read_lines


@dataclass(frozen=True)
class UpstreamCall:
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
    """One fault: the jobs submitted while `name` was broken and those after, and when it was repaired.

    `slots` and `consecutive_failures` are settings of the fleet; `began` and `healed` are moments.
    """

    name: str
    jobs: Sequence[str]
    after: Sequence[str]
    slots: int
    consecutive_failures: int
    began: float
    healed: float


@dataclass
class Evidence:
    """Everything that the verdict rests on.

    `claims_by_job`: when a job was claimed for the broken upstream. `moves`: job -> the reasons for its moves.
    """

    case: Case
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    claims_by_job: dict[str, list[float]] = field(default_factory=dict)
    moves: dict[str, list[str]] = field(default_factory=dict)
    broken: list[UpstreamCall] = field(default_factory=list)
    good: list[UpstreamCall] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    cooling: float | None = None
    left: list[str] = field(default_factory=list)

    @property
    def claims(self) -> list[float]:
        """When jobs were claimed for the broken upstream."""
        return sorted(at for claims in self.claims_by_job.values() for at in claims)


def gather(directory: Path, client: Any) -> Evidence:
    """Read every witness in the directory of a run. `client` decodes responses."""
    case = Case(**json.loads((directory / "case.json").read_text()))
    evidence = Evidence(case)
    ids = [*case.jobs, *case.after]
    _read_results(evidence, ids, client)
    calls = [call for call in read_log(directory / "calls.jsonl") if call.received >= case.began]
    evidence.broken = [call for call in calls if call.upstream == case.name]
    evidence.good = [call for call in calls if call.upstream == "good"]
    evidence.changes = sorted(_changes(case, client), key=lambda change: change.at)
    cooling = client.hget("of:blocked", f"{case.name}/{case.name} cool")
    evidence.cooling = None if cooling is None else float(cooling)
    evidence.left = [job for job in client.zrange("of:unfinished", 0, -1) if job in set(ids)]
    return evidence


def read_log(path: Path) -> list[UpstreamCall]:
    """The calls in the log of the upstreams, in the order of their arrival."""
    calls: dict[int, UpstreamCall] = {}
    for row in read_lines(path):
        number = row["call"]
        if row["event"] == "received":
            calls[number] = UpstreamCall(row["upstream"], row["job"], row["probe"], row["healed"], row["at"])
        else:
            calls[number] = _ended(calls[number], row)
    return list(calls.values())


def _ended(call: UpstreamCall, row: dict[str, Any]) -> UpstreamCall:
    answered = row["event"] == "answered"
    return UpstreamCall(call.upstream, call.job, call.probe, call.healed, call.received, answered, row["at"])


def _read_results(evidence: Evidence, ids: Sequence[str], client: redis.Redis) -> None:
    for start in range(0, len(ids), BATCH_SIZE):
        part = ids[start : start + BATCH_SIZE]
        with client.pipeline(transaction=False) as pipe:
            for job in part:
                pipe.get(f"of:result:{job}")
                pipe.lrange(f"of:events:{job}", 0, -1)
            rows = pipe.execute()
        for job, result, stored in zip(part, rows[::2], rows[1::2], strict=True):
            if result is not None:
                evidence.results[job] = json.loads(result)
            events = [json.loads(row) for row in stored]
            evidence.claims_by_job[job] = _claims(evidence.case.name, events)
            evidence.moves[job] = [event["why"] for event in events if event.get("why")]


def _claims(backend: str, events: Iterable[dict[str, Any]]) -> list[float]:
    return [float(event["at"]) for event in events if event["event"] == "started" and event.get("backend") == backend]


def _changes(case: Case, client: Any) -> list[Change]:
    """The changes of the breaker of this upstream and of any key, since the case began."""
    rows = [json.loads(row) for row in client.lrange("of:breaker-history", 0, -1)]
    return [
        Change(row["at"], row["target"], row["to"], row["why"])
        for row in rows
        if row["at"] >= case.began and (row["target"] == f"{case.name}/{case.name}" or row["target"].startswith("key:"))
    ]
