"""Forged evidence of a good outage run. A test spoils some of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.chaos.chaos_support import encode_resp, forge_call, forge_run, forge_stories
from tests.chaos.judge.evidence import Evidence, gather
from tests.chaos.judge.outage_verdict import judge
from tests.chaos.judge.promise import Promise

BEGAN = 1_800_000_000_000.0
CASE = {"upstreams": {"one": "alpha", "two": "beta"}, "brief": "now", "release_first": 1, "release_limit": 3}

# One job for each way of learning of the end: four that fell and were released, one that ended degraded.
JOBS = {"j-wait": "wait", "j-inbox": "inbox", "j-hook": "webhook", "j-later": "later", "j-brief": "wait"}
MODEL = {"j-wait": "alpha", "j-inbox": "alpha", "j-hook": "beta", "j-later": "beta"}
FELL, HELD, RELEASED, DONE = 1000.0, 1300.0, 60_000.0, 60_200.0


def result_of(job: str) -> dict[str, Any]:
    if job == "j-brief":
        return {"v": 2, "status": "degraded", "body": {"choices": [{"message": {"content": "not now"}}]}}
    text = f"This is the answer to {job}"
    return {"v": 2, "status": "answered", "body": {"choices": [{"message": {"content": text}}]}}


def story_of(job: str, after: float) -> list[dict[str, Any]]:
    """A job that fell; `after` sets the releases of a model apart."""
    fell = [{"event": "queued", "at": BEGAN}, {"event": "fallen", "at": BEGAN + FELL, "reason": "outage", "detail": ""}]
    if job == "j-brief":
        return [*fell, {"event": "done", "at": BEGAN + HELD, "status": "degraded"}]
    model = MODEL[job]
    return [
        *fell,
        {"event": "degraded", "at": BEGAN + HELD, "by": "canned_reply", "text": "kept"},
        {"event": "held", "at": BEGAN + HELD, "reason": "outage"},
        {"event": "queued", "at": BEGAN + RELEASED + after, "queue": f"gpu.{model}.interactive",
         "why": f"released: {model} takes calls again"},
        {"event": "started", "at": BEGAN + RELEASED + after + 10, "backend": "one"},
        {"event": "done", "at": BEGAN + DONE + after, "status": "answered"},
    ]  # fmt: skip


@dataclass
class Witnesses:
    """Five jobs that fell: four were released and answered, one was of a role that takes a reply for an end."""

    directory: Path
    store: redis.Redis
    accepted: list[dict[str, Any]] = field(default_factory=list)
    stories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    notified: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str, float, float]] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    inbox: list[tuple[str, str]] = field(default_factory=list)
    falls: list[str] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    incidents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, (job, callback) in enumerate(JOBS.items()):
            role = "now" if job == "j-brief" else "story"
            self.accepted.append({"id": job, "role": role, "urgency": "interactive", "callback": callback})
            self.stories[job] = story_of(job, 300.0 * number)
            self.results[job] = result_of(job)
            self.given.append(job)
            self.falls.append(job)
            self.store.zadd("rq:finished:gpu.alpha.interactive", {job: 1})
            if callback in ("wait", "later"):
                self.notify(job, callback, "done", DONE + 400, status=self.results[job]["status"])
            if job != "j-brief":
                start = BEGAN + RELEASED + 300.0 * number + 20
                self.calls.append(("one" if MODEL[job] == "alpha" else "two", job, start, start + 60))
        self.store.sadd("rq:queues", "rq:queue:gpu.alpha.interactive")
        self.notify("j-wait", "wait", "degraded", HELD + 50, decided=BEGAN + HELD)
        self.notify("j-inbox", "inbox", "done", DONE + 600, status="answered")
        self.inbox = [("j-inbox", "degraded"), ("j-inbox", "done")]
        self.hooks = [self.hook("degraded", "m1"), self.hook("done", "m2", status=503), self.hook("done", "m2")]
        self.posts = [self.post("2 jobs fell: no model can be asked"), self.post("Over: no model can answer", 70_000.0)]
        self.posts.insert(1, {**self.post("9 jobs fell"), "method": "PATCH"})
        self.incidents = {"outage-1": {"ended": "9", "falls": 5, "replayed": 4, "reason": "outage"}}

    def notify(self, job: str, channel: str, event: str, at: float, **more: Any) -> None:
        self.notified.append(
            {"job": job, "channel": channel, "event": event, "at": BEGAN + at, "decided": 0.0, "status": "", **more}
        )

    def hook(self, kind: str, hook_id: str, *, status: int = 204, body: str = "") -> dict[str, Any]:
        return {"at": BEGAN, "id": hook_id, "job": "j-hook", "kind": kind, "body": body or kind, "status": status}

    def post(self, text: str, at: float = 2000.0) -> dict[str, Any]:
        return {"at": BEGAN + at, "method": "POST", "status": 200, "text": text}

    def evidence(self) -> Evidence:
        for name, fields in self.incidents.items():
            self.store.hset(f"of:incident:{name}", mapping=fields)
        files: dict[str, list[Any]] = {
            name: getattr(self, name) for name in ("accepted", "notified", "faults", "hooks")
        }
        files["notifier"] = self.posts
        for number, (upstream, job, began, ended) in enumerate(self.calls):
            files.setdefault(f"calls-{upstream}-1", []).extend(forge_call(number, job, began, ended))
        forge_run(self.directory, self.store, self._aof(), self.results, files)
        (self.directory / "case.json").write_text(json.dumps(CASE))
        return gather(self.directory, self.store)

    def _aof(self) -> bytes:
        aof = forge_stories(self.stories)
        aof += b"".join(encode_resp("SET", f"of:result:{job}", "{}", "EX", "60") for job in self.given)
        for number, (job, kind) in enumerate(self.inbox):
            fields = ("id", job, "kind", kind, "at", f"{BEGAN:.0f}", "reply_to", "", "result", "{}")
            aof += encode_resp(
                "XADD", "of:inbox:drill", "MINID", "=", "1-0", "LIMIT", "100", f"{number + 2}-0", *fields
            )
        aof += b"".join(encode_resp("XADD", "of:falls", "7-0", "fall", json.dumps({"id": job})) for job in self.falls)
        return aof + b"".join(encode_resp("LPUSH", "of:breaker-history", json.dumps(row)) for row in self.changes)

    def broken(self) -> list[Promise]:
        return [promise for promise in judge(self.evidence()) if not promise.kept]
