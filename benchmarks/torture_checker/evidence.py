"""Everything a verdict rests on: what the submitter, the upstream, the server and the tormentor wrote down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from benchmarks.torture_checker.aof import History, read

ENDS = ("finished", "failed", "canceled")
"""rq's terminal registries: a job that has ended is in one of them."""

WAITING_LISTS = ("rq:queue:*",)
WAITING_SETS = ("rq:wip:*", "rq:scheduled:*", "rq:deferred:*", "of:scheduled:*", "of:suspects:*", "of:unfinished")
"""Where a job waits or runs. After the run, nowhere."""

AT_ONCE = 500


@dataclass(frozen=True)
class Fault:
    """One fault, in epoch milliseconds: kill, aimed, frozen, outage or deploy. `job` is the one an aimed kill meets."""

    kind: str
    pid: int
    began: float
    ended: float
    job: str = ""


@dataclass(frozen=True)
class Calls:
    """The upstream's own log: how often each job was called for, and when first (epoch ms)."""

    received: Counter[str]
    first: dict[str, float]


@dataclass
class Store:
    """What the server holds after the run."""

    answered: set[str] = field(default_factory=set)
    other_result: dict[str, str] = field(default_factory=dict)
    registries: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, int] = field(default_factory=dict)
    leases: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All of it. `accepted` are the ids whose receipt the submitter had in its hands."""

    accepted: list[str]
    calls: Calls
    history: History
    store: Store
    faults: list[Fault]


def gather(accepted: Path, calls: Path, aof: Path, url: str, faults: Path) -> Evidence:
    """Read every witness."""
    ids = accepted.read_text().split()
    with redis.Redis.from_url(url, decode_responses=True, socket_timeout=30) as client:
        store = _store(client, ids)
    return Evidence(ids, _calls(calls), read(aof), store, [_fault(line) for line in _lines(faults)])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def _fault(told: dict[str, Any]) -> Fault:
    return Fault(
        told["kind"], int(told.get("pid", 0)), told["began"], told.get("ended", told["began"]), told.get("job", "")
    )


def _calls(path: Path) -> Calls:
    received: Counter[str] = Counter()
    first: dict[str, float] = {}
    for event in _lines(path):
        if event["event"] == "received":
            received[event["job"]] += 1
            first.setdefault(event["job"], event["wall"] * 1000)
    return Calls(received, first)


def _store(client: Any, ids: Sequence[str]) -> Store:
    store = Store()
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        for job, result in zip(part, client.mget([f"of:result:{job}" for job in part]), strict=True):
            _note_result(store, job, result)
    for queue in client.smembers("rq:queues"):
        name = queue.removeprefix("rq:queue:")
        for end in ENDS:
            store.registries.update(client.zrange(f"rq:{end}:{name}", 0, -1))
    store.waiting = _sizes(client, WAITING_LISTS, client.llen) | _sizes(client, WAITING_SETS, client.zcard)
    store.leases = _sizes(client, ("of:leases:*",), client.zcard)
    store.counters = {name: int(count) for name, count in client.hgetall("of:counters").items()}
    return store


def _note_result(store: Store, job: str, result: str | None) -> None:
    if result is None:
        return
    told = json.loads(result)
    if told["status"] == "answered" and f"This is the answer to {job}" in result:
        store.answered.add(job)
    else:
        store.other_result[job] = told["status"]


def _sizes(client: Any, patterns: Sequence[str], size: Any) -> dict[str, int]:
    found = {key: size(key) for pattern in patterns for key in client.scan_iter(pattern, count=1000)}
    return {key: count for key, count in found.items() if count}
