"""The evidence of a run: what each witness wrote down for itself, read from the run's directory.

The witnesses are the submitter (`accepted.jsonl`, `notified.jsonl`), the upstreams (`calls-NAME-START.jsonl`), the
notifier and the webhook receiver (`notifier.jsonl`, `hooks.jsonl`), the fault log (`faults.jsonl`), the server's
append-only file, and the server itself. Moments are epoch milliseconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.chaos.judge.aof import History, read

TERMINAL_REGISTRIES = ("finished", "failed", "canceled")
"""rq's registries of ended jobs."""

WAITING_SETS = (
    "rq:wip:*", "rq:scheduled:*", "rq:deferred:*", "of:scheduled:*", "of:suspects:*", "of:leases:*", "of:outbox",
    "of:unfinished",
)  # fmt: skip
BATCH_SIZE = 500
OUTCOMES, OUTCOME_WORD = ("answered", "fell_back", "degraded", "failed", "expired", "cancelled"), 4
"""The outcomes that the fleet counts, and the word of a field of `of:job-counts` that has one."""


@dataclass(frozen=True)
class PlannedJob:
    """A job of a run. `callback` is how its caller learns of the end."""

    id: str
    role: str = ""
    urgency: str = ""
    callback: str = ""


@dataclass(frozen=True)
class Notification:
    """What a caller received, and when. `decided` is the moment that the event itself names (0: none)."""

    job: str
    channel: str
    event: str
    at: float
    decided: float
    status: str


@dataclass(frozen=True)
class Call:
    """One call in the log of an upstream. `ended` None: the upstream was killed meanwhile.

    `probe`: it was the health prompt. `healed`: a broken upstream was repaired before it.
    """

    upstream: str
    job: str
    received: float
    ended: float | None = None
    answered: bool = False
    probe: bool = False
    healed: bool = False


@dataclass(frozen=True)
class Fault:
    """One fault. `pid`: the process it hit. `job`: the job that an aimed kill meets."""

    kind: str
    began: float
    ended: float
    pid: int = 0
    job: str = ""


@dataclass(frozen=True)
class Unfinished:
    """A job without a result, as the server shows it."""

    state: str = ""
    reason: str = ""
    parked: bool = False

    @property
    def held(self) -> bool:
        """It is held, for a stated reason."""
        return self.state == "held" and bool(self.reason) and self.parked


@dataclass
class Evidence:
    """Everything that a verdict rests on. `case` is what the fleet was configured with."""

    case: dict[str, Any]
    accepted: list[PlannedJob]
    """The jobs whose receipts the submitter has."""
    history: History
    notifications: list[Notification] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    """The requests to the notifier, in order: at, method, status, text."""
    hooks: list[dict[str, Any]] = field(default_factory=list)
    """The requests to the webhook receiver, in order: at, id, status, job, kind, body (a digest)."""
    faults: list[Fault] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    unfinished: dict[str, Unfinished] = field(default_factory=dict)
    registries: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, int] = field(default_factory=dict)
    """The size of each key in which jobs wait or run."""
    blocked: dict[str, str] = field(default_factory=dict)
    """What keeps calls from a target: breakers and cooldowns."""
    counters: dict[str, int] = field(default_factory=dict)
    incidents: dict[str, dict[str, str]] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    """Every job on the server that is neither ended nor held."""
    directory: Path | None = None

    @property
    def ids(self) -> list[str]:
        return [job.id for job in self.accepted]

    def faults_of(self, *kinds: str) -> list[Fault]:
        return [fault for fault in self.faults if fault.kind in kinds]


def gather(directory: Path, client: Any) -> Evidence:
    """Read every witness in the directory of a run. `client` decodes responses."""
    case = directory / "case.json"
    evidence = Evidence(
        case=json.loads(case.read_text()) if case.exists() else {},
        accepted=[PlannedJob(**row) for row in read_lines(directory / "accepted.jsonl")],
        history=read(directory / "appendonlydir"),
        notifications=[Notification(**row) for row in read_lines(directory / "notified.jsonl")],
        calls=[call for path in sorted(directory.glob("calls-*.jsonl")) for call in _read_calls(path)],
        posts=list(read_lines(directory / "notifier.jsonl")),
        hooks=list(read_lines(directory / "hooks.jsonl")),
        faults=[Fault(**{"ended": row["began"], **row}) for row in read_lines(directory / "faults.jsonl")],
    )
    evidence.directory = directory
    _read_server(evidence, client)
    return evidence


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file, without a last line that a kill has torn; none if the file does not exist."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _read_calls(path: Path) -> Iterator[Call]:
    """The calls of `calls-NAME-START.jsonl`. Each start of an upstream has its own log: its numbers start again."""
    name, calls = path.stem.split("-")[1], dict[int, Call]()
    for row in read_lines(path):
        at, number = row["wall"] * 1000, row["call"]
        if row["event"] == "received":
            flags = {flag: row.get(flag, False) for flag in ("probe", "healed")}
            calls[number] = Call(row.get("upstream", name), row["job"], at, **flags)
        elif number in calls:
            calls[number] = replace(calls[number], ended=at, answered=row["event"] == "answered")
    yield from calls.values()


def _read_server(evidence: Evidence, client: Any) -> None:
    ids = evidence.ids
    for start in range(0, len(ids), BATCH_SIZE):
        _read_jobs(evidence, ids[start : start + BATCH_SIZE], client)
    for key in client.smembers("rq:queues"):
        for registry in TERMINAL_REGISTRIES:
            evidence.registries.update(client.zrange(f"rq:{registry}:{key.removeprefix('rq:queue:')}", 0, -1))
    for job in client.zrange("of:unfinished", 0, -1):
        if client.hget(f"of:job:{job}", "state") != "held":
            evidence.running.add(job)
    sizes = {key: client.llen(key) for key in client.scan_iter("rq:queue:*", count=1000)}
    for pattern in WAITING_SETS:
        sizes.update({key: client.zcard(key) for key in client.scan_iter(pattern, count=1000)})
    evidence.waiting = {key: int(size) for key, size in sizes.items() if size}
    evidence.blocked = client.hgetall("of:blocked")
    evidence.counters = {name: int(count) for name, count in client.hgetall("of:counters").items()}
    evidence.counters |= _count_ends(client.hgetall("of:job-counts"))
    for key in client.scan_iter("of:incident:*", count=1000):
        evidence.incidents[key.removeprefix("of:incident:")] = client.hgetall(key)


def _count_ends(fields: Mapping[str, str]) -> Counter[str]:
    """The jobs that ended, by outcome: `{role} {urgency} {group} {model} {outcome}[ {bound of its time}]`."""
    ends: Counter[str] = Counter()
    for name, count in fields.items():
        words = name.split(" ")
        if len(words) > OUTCOME_WORD and words[OUTCOME_WORD] in OUTCOMES:
            ends[words[OUTCOME_WORD]] += int(count)
    return ends


def _read_jobs(evidence: Evidence, part: Sequence[str], client: Any) -> None:
    with client.pipeline(transaction=False) as pipe:
        for job in part:
            pipe.get(f"of:result:{job}")
            pipe.hmget(f"of:job:{job}", "state", "held_for")
            pipe.zscore("rq:deferred:degrade", job)
            pipe.zscore("of:unfinished", job)
        rows = pipe.execute()
    for job, result, (state, reason), parked, open_ in zip(part, *(rows[n::4] for n in range(4)), strict=True):
        if result is not None:
            evidence.results[job] = json.loads(result)
        if state != "done" or open_ is not None:
            evidence.unfinished[job] = Unfinished(state or "", reason or "", parked is not None)
