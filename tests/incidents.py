"""Creates incidents in Redis."""

from __future__ import annotations

from typing import Any

import redis


def open_incident(store: redis.Redis, now: float, reason: str = "outage", **fields: Any) -> str:
    """Open an incident that began `now` (epoch seconds). Returns its id."""
    began = int(now * 1000)
    incident = f"{reason}-{began}"
    fields = {"began": began, "last": began, "falls": 1, "held": 0, "ended": "", "version": 1,
            "notify": "discord,webhook", **fields}  # fmt: skip
    store.hset(f"of:incident:{incident}", mapping=fields)
    store.hset("of:incidents", reason, incident)
    return incident
