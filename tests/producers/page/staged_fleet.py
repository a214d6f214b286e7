"""A fleet in trouble, written into Redis as its workers would: for the acceptance in a browser, and for screenshots."""

from __future__ import annotations

import json
import math
import time

import redis

from openfall.router_core.jobs.envelope import pack_attempt
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.state.card_state import CardState, ModelOnCard, pack_card_state
from openfall.router_core.vocabulary import ErrorClass
from tests.budget_sums import pack_sums

MODELS = """
  coder-32b: {upstream: "qwen2.5-coder:32b", backends: [tower], context: 32k, vram_gb: 19}
  llama-8b: {upstream: "llama3.1:8b", backends: [tower, attic], context: 32k, vram_gb: 6}
  haiku: {upstream: claude-haiku-4-5, backends: [anthropic], context: 200k, max_tokens: 4k}
  gpt-mini: {upstream: gpt-5-mini, backends: [openai], context: 200k, max_tokens: 4k}"""
CONFIG = f"""
redis: {{redis}}
pools: {{{{gpu: {{{{local: yes}}}}, cloud: {{{{}}}}}}}}
backends:
  tower: {{{{protocol: ollama, url: "{{upstream}}", pool: gpu, slots: 2, vram_gb: 24}}}}
  attic: {{{{protocol: ollama, url: "http://127.0.0.1:9", pool: gpu, slots: 1}}}}
  anthropic: {{{{protocol: anthropic, url: "http://127.0.0.1:10", pool: cloud, slots: 8}}}}
  openai: {{{{protocol: openai, url: "http://127.0.0.1:11", pool: cloud, slots: 8}}}}
models:{MODELS.replace("{", "{{").replace("}", "}}")}
roles:
  chat: {{{{chain: [llama-8b, haiku], urgency: interactive}}}}
  coder: {{{{chain: [coder-32b, gpt-mini]}}}}
  storyboard: {{{{chain: [haiku, gpt-mini], urgency: batch}}}}
budgets: [{{{{name: house, usd: 5, per: day}}}}]
{{more}}
"""

WAITING = (  # queue, jobs, age of the oldest (s), running
    ("gpu.llama-8b.interactive", 3, 9, 2),
    ("gpu.llama-8b.background", 4, 12, 1),
    ("gpu.coder-32b.background", 6, 21, 1),
    ("cloud.haiku.interactive", 1, 1, 3),
    ("cloud.haiku.batch", 42, 4320, 0),
    ("cloud.gpt-mini.batch", 310, 900, 4),
)
TRIED = (
    Attempt(model="llama-8b", backend="tower", error=ErrorClass.TIMEOUT, started_at=0, ended_at=5),
    Attempt(model="haiku", backend="anthropic", error=ErrorClass.OVERLOADED, http_status=529, started_at=5, ended_at=6),
)


def stage(store: redis.Redis) -> None:
    """Jobs that wait, an open breaker, held jobs, an hour of history, workers, and what operators did."""
    now = int(time.time() * 1000)
    for queue, jobs, age_seconds, running in WAITING:
        _wait(store, queue, jobs, now - age_seconds * 1000, running)
    store.sadd("of:paused", "cloud.gpt-mini.background")
    _break(store, now)
    for number, minutes in enumerate((2, 3, 41)):
        _hold(store, number, now - minutes * 60_000, now)
    store.hset("of:incidents", "outage", "outage-1")
    counts = {"falls": 7, "held": 3, "replayed": 4, "m:haiku": 6, "m:llama-8b": 2, "c:overloaded (HTTP 529)": 6}
    store.hset("of:incident:outage-1", mapping={"reason": "outage", "began": now - 780_000, "last": now, **counts})
    for name, pool in (("tower-1", "gpu"), ("tower-2", "gpu"), ("vm-cloud", "cloud"), ("vm-degrade", "degrade")):
        _work(store, name, pool, now)
    for minute in range(60):
        _remember(store, minute, now)
    _load(store, now)
    day = time.strftime("%Y-%m-%d", time.gmtime(now / 1000))
    store.hset(f"of:ledger:{day}", mapping=LEDGER)
    store.hset("of:budget-sums", f"house:{day}", pack_sums(770_000_000, 120_000_000, 0, 312))
    for entry in AUDIT:
        store.xadd("of:audit-log", {"entry": json.dumps(entry)})


AUDIT = (
    {"actor": "mika@tower", "via": "cli", "action": "queue.pause", "subject": "cloud.gpt-mini.background"},
    {"actor": "anna", "via": "page", "action": "breaker.force_open", "subject": "attic/llama-8b", "why": "new fan"},
)


LEDGER = {
    "llama-8b@tower - - -": "1204 2900000 731000 122000 0 0 41000 0 failed 11 saved 1341000000",
    "coder-32b@tower - - -": "88 1300000 204000 61000 0 0 63000 0 saved 509000000",
    "haiku@anthropic - - -": "312 640000 420000 70000 770000000 0 9000 8000000 failed 9",
}


def stage_outbox(store: redis.Redis) -> None:
    """A webhook that is pending after two tries, and a notice that failed for good."""
    now, entry = time.time(), "job:73f9c0a1b2c3d4e5f6071800:done"
    store.zadd("of:outbox", {entry: int(now * 1000) + 1_500_000})
    store.hset(f"of:outbox-entry:{entry}", mapping={"tries": 2, "why": "HTTP 503"})
    failed = {"entry": "notice:discord:outage-1:began", "host": "discord", "why": "HTTP 404", "tries": 7, "at": now}
    store.lpush("of:dead-letters", json.dumps(failed))


def _load(store: redis.Redis, now: int) -> None:
    """Two models on the card of the tower, which a worker manages, and its memory over the last hours."""
    models = {
        "coder-32b": ModelOnCard("tower", gb=17.6, ready_at=now / 1000 - 1900),
        "llama-8b": ModelOnCard("tower", gb=5.1, ready_at=now / 1000 - 200),
    }
    store.hset("of:card:tower", "state", pack_card_state(CardState(models=models, total_gb=24.0)))
    store.hset("of:card-manager:gpu", mapping={"worker": "tower-1", "until": now + 86_400_000, "epoch": 1})


def _wait(store: redis.Redis, queue: str, jobs: int, oldest: int, running: int) -> None:
    store.sadd("rq:queues", f"rq:queue:{queue}")
    for number in range(jobs):
        job = f"{queue}-{number}"
        store.rpush(f"rq:queue:{queue}", job)
        store.hset(f"of:job:{job}", mapping={"accepted": oldest + number, "state": "queued", "queue": queue})
    for number in range(running):
        store.zadd(f"rq:wip:{queue}", {f"{queue}-running-{number}": 1})


def _break(store: redis.Redis, now: int) -> None:
    away = {"state": "open", "since": now - 780_000, "away_since": now - 780_000, "until": now + 95_000}
    cause = {"cause": "overloaded (HTTP 529)", "error": "overloaded", "http_status": 529, "open_count": 3}
    store.sadd("of:breakers", "anthropic/haiku", "attic/llama-8b", "openai/gpt-mini")
    store.hset("of:breaker:anthropic/haiku", mapping={**away, **cause, "consecutive_failures": 9})
    forced = {"state": "open", "forced": "open 9007199254740991", "why": "new fan", "away_since": now - 200_000}
    store.hset("of:breaker:attic/llama-8b", mapping=forced)
    failing = {"state": "closed", "consecutive_failures": 2, "cause": "rate_limited (HTTP 429)"}
    store.hset("of:breaker:openai/gpt-mini", mapping=failing)
    store.hset("of:blocked", "openai/gpt-mini cool", now + 55_000)


def _hold(store: redis.Redis, number: int, held_at: int, now: int) -> None:
    job = f"{number + 7}3f9c0a1b2c3d4e5f60718{number:02d}"
    own_fault = number == 2
    why = "every model refused the request" if own_fault else "no model of its chain can be called"
    fields = {
        "state": "held", "held_for": "own_fault" if own_fault else "outage", "held_why": why, "held_at": held_at,
        "deadline": now + 3_600_000, "fell_from": "gpu.llama-8b.interactive", "queue": "degrade", "ready_at": 0,
        "held_by": "" if own_fault else "llama-8b,haiku", "deliveries": 2, "accepted": held_at - 5000,
        "attempts": b"\n".join(map(pack_attempt, TRIED)),
    }  # fmt: skip
    store.zadd("rq:deferred:degrade", {job: held_at // 1000})
    store.hset(f"of:job:{job}", mapping=fields)
    store.hset(f"rq:job:{job}", mapping={"description": "chat/interactive", "status": "deferred"})
    fall = {"at": held_at / 1000, "id": job, "reason": "outage", "detail": why, "by": "canned_reply"}
    store.xadd("of:falls", {"fall": json.dumps(fall)})


def _work(store: redis.Redis, name: str, pool: str, now: int) -> None:
    models = {"gpu": ("coder-32b", "llama-8b"), "cloud": ("haiku", "gpt-mini")}.get(pool, ())
    of_pool = [f"{pool}.{model}.{urgency}" for model in models for urgency in ("interactive", "background", "batch")]
    queues = ",".join(of_pool) or "degrade"
    beat = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(now / 1000))
    fields = {"queues": queues, "state": "busy" if pool != "degrade" else "idle", "hostname": name.partition("-")[0]}
    counts = {"successful_job_count": 1841, "failed_job_count": 12, "pid": 4107, "last_heartbeat": beat}
    store.sadd("rq:workers", f"rq:worker:{name}")
    store.hset(f"rq:worker:{name}", mapping={**fields, **counts})
    store.zadd("of:presence", {name: now + 86_400_000})


def _remember(store: redis.Redis, minute: int, now: int) -> None:
    """One row of the history, the newest first."""
    tide = math.sin(minute / 9) + 1.1
    cells = {
        "gpu interactive": [round(3 * tide), round(4000 * tide)],
        "gpu background": [round(5 * tide), round(11000 * tide)],
        "cloud batch": [max(0, 350 - 4 * minute), max(0, 4_300_000 - 70_000 * minute)],
    }
    row = {"at": str(now - minute * 60_000), "held": 3, "cells": cells}
    store.rpush("of:depths:hour", json.dumps(row))
