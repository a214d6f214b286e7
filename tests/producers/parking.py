"""Jobs that fell and are held, as the degrade worker holds them."""

from __future__ import annotations

import time
from typing import Any

import redis

from config import Loaded
from producers import Openfall
from router_core.envelope import pack_result
from router_core.open_fall import HoldReason, Remedy
from router_core.result import Result, Status

SORRY = "No model can answer at the moment."


def interim(job_id: str, reason: HoldReason, text: str) -> Result:
    body = {"choices": [{"message": {"role": "assistant", "content": text}}]} if text else None
    return Result(
        id=job_id, status=Status.DEGRADED, body=body, held_for=reason, degraded_why="tiny: its breaker is open",
        degraded_by=Remedy.CANNED_REPLY if text else None,
    )  # fmt: skip


def hold(
    store: redis.Redis, job_id: str, *, reason: HoldReason = HoldReason.OUTAGE,
    models: tuple[str, ...] = ("tiny", "other"), reply: str = SORRY,
) -> None:  # fmt: skip
    """Hold a job that waits."""
    now = int(time.time() * 1000)
    queue = store.hget(f"of:job:{job_id}", "queue").decode()  # type: ignore[union-attr]
    store.lrem(f"rq:queue:{queue}", 1, job_id)
    store.zadd("rq:deferred:degrade", {job_id: now // 1000})
    store.hset(f"rq:job:{job_id}", mapping={"status": "deferred", "origin": "degrade"})
    fields = {"state": "held", "held_for": reason, "held_why": "nobody is there", "held_at": now,
              "fell_from": queue, "falls": 1, "held_by": ",".join(models), "ready_at": 0,
              "reply": pack_result(interim(job_id, reason, reply))}  # fmt: skip
    store.hset(f"of:job:{job_id}", mapping=fields)
    detail = f'"reason":"{reason}","detail":"nobody is there"'
    by = '"canned_reply"' if reply else "null"
    store.rpush(
        f"of:events:{job_id}",
        f'{{"event":"fallen","at":{now},{detail}}}',
        f'{{"event":"degraded","at":{now},{detail},"by":{by},"text":"{reply}"}}',
        f'{{"event":"held","at":{now},{detail}}}',
    )
    store.publish(f"of:news:{job_id}", "")


def hold_next(store: redis.Redis, queue: str, **told: Any) -> str:
    """Hold the next job that comes into a queue; its id."""
    until = time.monotonic() + 20
    while not (waiting := store.lrange(f"rq:queue:{queue}", 0, 0)):
        assert time.monotonic() < until
        time.sleep(0.01)
    job_id = str(waiting[0].decode())
    hold(store, job_id, **told)
    return job_id


def park(
    loaded: Loaded, *prompts: str, reason: HoldReason = HoldReason.OUTAGE, models: tuple[str, ...] = ("tiny", "other"),
    reply: str = SORRY, **options: Any,
) -> list[str]:  # fmt: skip
    """Put jobs in and hold them; their ids."""
    with Openfall(config=loaded) as llm, redis.Redis.from_url(str(loaded.settings.redis_url)) as store:
        ids = [llm.submit(prompt, **options).id for prompt in prompts]
        for job_id in ids:
            hold(store, job_id, reason=reason, models=models, reply=reply)
    return ids
