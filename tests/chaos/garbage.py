"""The scenario `garbage`: another program overwrites keys in Redis, one of each kind after another, under a light load.

Two workers and the degrade worker run. After each damage small jobs must be answered, and no worker may end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import started, wait_for
from openfall import AsyncOpenfall, config
from openfall.router_core.state.maintenance import list_unreadable
from tests.chaos.environment import Environment, environment, mock_upstream
from tests.chaos.progress import Progress

POOLS = ("gpu", "gpu", "degrade")
DAMAGES = ("random bytes", "another type", "truncated", "empty")
JOBS_AFTER_DAMAGE = 2
WITNESS = "of:unreadable"
"""The list of damages: the judge reads it, so it is not damaged."""
ANSWER_TIMEOUT_SECONDS = 20.0
DEAD_UPSTREAM = "http://127.0.0.1:9/v1"
"""Its jobs fall and are held, so that the keys of holds exist."""


async def run(damages: Sequence[str], directory: Path, progress: Progress) -> dict[str, Any]:
    """Damage a key of each kind in each of these ways; returns the verdict."""
    with environment(directory, 8, [good := mock_upstream("good", 20.0, directory)]) as world, ExitStack() as stack:
        world.write_config(_document(good.url))
        workers = []
        for number, pool in enumerate(POOLS):
            log = directory / f"worker-{number}.log"
            workers.append((stack.enter_context(started(world.worker_argv(pool), log)), log))
        for child, log in workers:
            await asyncio.to_thread(wait_for, lambda log=log: '"ready"' in log.read_text(), 60.0, "a worker", child)
        async with AsyncOpenfall(config=config.load(world.config, environ={})) as client:
            rows = await _damage_all(damages, world, client, progress)
            unreadable = await list_unreadable(client.store.connection)
        ended = [log.name for child, log in workers if child.popen.poll() is not None]
    broken = [row for row in rows if row["answered"] < JOBS_AFTER_DAMAGE]
    kept = not broken and not ended and bool(unreadable)
    figures = {"damages": len(rows), "unreadable_values": len(unreadable), "workers_ended": ended}
    return {"kept": kept, "broken": broken, "figures": figures, "problems": []}


def _document(good: str) -> dict[str, Any]:
    return {
        "pools": {"gpu": {"local": True}},
        "backends": {
            "good": {"url": good, "pool": "gpu", "slots": 8},
            "dead": {"url": DEAD_UPSTREAM, "pool": "gpu", "slots": 2},
        },
        "models": {
            "good": {"upstream": "good", "backends": ["good"], "timeout": 10},
            "dead": {"upstream": "dead", "backends": ["dead"], "timeout": 10},
        },
        "roles": {"good": {"chain": ["good"]}, "dead": {"chain": ["dead"]}},
    }


async def _damage_all(
    damages: Sequence[str], world: Environment, client: AsyncOpenfall, progress: Progress
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    rng = random.Random(1)
    with redis.Redis.from_url(world.server.url) as store:
        for damage in damages:
            await client.submit("held", role="dead")
            await client.submit("kept", role="good", idempotency_key=f"key {damage}")
            await asyncio.sleep(0.5)
            for kind in sorted(_keys_by_kind(store)):
                if not (keys := _keys_by_kind(store).get(kind)):
                    continue
                key = rng.choice(keys)
                _replace(store, key, damage, rng)
                results = await asyncio.gather(
                    *(
                        client.ask(f"{kind} {damage} {number}", role="good", timeout=ANSWER_TIMEOUT_SECONDS)
                        for number in range(JOBS_AFTER_DAMAGE)
                    ),
                    return_exceptions=True,
                )
                answered = sum(not isinstance(result, BaseException) and result.answered for result in results)
                rows.append({"key": key.decode(errors="replace"), "damage": damage, "answered": answered})
            progress.log_line(f"{damage}: {len(rows)} keys damaged so far")
    return rows


def _keys_by_kind(store: redis.Redis) -> dict[str, list[bytes]]:
    """The keys of Redis, by their first two parts."""
    kinds: dict[str, list[bytes]] = {}
    for key in sorted(store.scan_iter(count=1000)):
        kinds.setdefault(":".join(key.decode(errors="replace").split(":")[:2]), []).append(key)
    kinds.pop(WITNESS, None)
    return kinds


def _replace(store: redis.Redis, key: bytes, damage: str, rng: random.Random) -> None:
    is_string = store.type(key) == b"string"
    text = store.get(key) if is_string else b""
    store.delete(key)
    if damage == "another type" and is_string:
        store.rpush(key, rng.randbytes(20))
    elif damage == "truncated" and isinstance(text, bytes) and text:
        store.set(key, text[: len(text) // 2])
    else:
        store.set(key, b"" if damage == "empty" else rng.randbytes(20))
