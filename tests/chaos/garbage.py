"""The scenario `garbage`: another program overwrites keys in Redis, one of each kind after another, under a light load.

Two workers and the degrade worker run. After each damage small jobs must be answered, and no worker may end. In the
end each job that was accepted before a damage, and none of whose own keys was overwritten, has its answer or is held.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import started, wait_for
from openfall import AsyncOpenfall, config
from openfall.router_core.state.client_keys import ClientKey, add_key
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.maintenance import list_unreadable
from tests.chaos.environment import Environment, environment, mock_upstream
from tests.chaos.progress import Progress

POOLS = ("gpu", "gpu", "degrade")
DAMAGES = ("random bytes", "another type", "truncated", "empty")
JOBS_AFTER_DAMAGE = 2
EARLIER_JOBS = 3
"""Of each role, before the keys are damaged in one way."""
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
            await add_key(client.store.connection, ClientKey(name="bot", digest="0" * 64, created_at=0.0))
            rows, earlier = await _damage_all(damages, world, client, progress)
            lost = await _lost(earlier, [row["key"] for row in rows], client)
            unreadable = await list_unreadable(client.store.connection)
        ended = [log.name for child, log in workers if child.popen.poll() is not None]
    return judge(rows, len(earlier), lost, ended, len(unreadable))


def judge(
    rows: Sequence[dict[str, Any]], earlier: int, lost: Sequence[str], ended: Sequence[str], unreadable: int
) -> dict[str, Any]:
    """The verdict. `lost`: the jobs of before the damages that have no answer and are not held."""
    broken = [row for row in rows if row["answered"] < JOBS_AFTER_DAMAGE]
    kept = not (broken or ended or lost) and unreadable > 0 and earlier > 0
    figures = {"damages": len(rows), "unreadable_values": unreadable, "workers_ended": list(ended),
               "earlier_jobs": earlier, "lost": list(lost)}  # fmt: skip
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
        "urgency": {"background": {"start_within": "3s"}},  # jobs of the dead model are held after that
        "roles": {"good": {"chain": ["good"]}, "dead": {"chain": ["dead"]}},
    }


async def _damage_all(
    damages: Sequence[str], world: Environment, client: AsyncOpenfall, progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each damage, and the jobs of before them with their roles."""
    rows: list[dict[str, Any]] = []
    earlier: dict[str, str] = {}
    rng = random.Random(1)
    with redis.Redis.from_url(world.server.url) as store:
        for damage in damages:
            for role in ("dead", "good"):
                for number in range(EARLIER_JOBS):
                    key = f"{damage} {role} {number}"
                    receipt = await client.submit(key, role=role, idempotency_key=key, inbox="bot")
                    earlier[receipt.id] = role
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
    return rows, earlier


async def _lost(earlier: dict[str, str], damaged: Sequence[str], client: AsyncOpenfall) -> list[str]:
    """The earlier jobs that have no answer and are not held, but for those whose own keys were overwritten."""
    judged = {job: role for job, role in earlier.items() if not any(job in key for key in damaged)}
    states = await asyncio.gather(*(_last_state(job, role, client) for job, role in judged.items()))
    return [f"{job} ({judged[job]}): {state}" for job, state in zip(judged, states, strict=True) if state]


async def _last_state(job: str, role: str, client: AsyncOpenfall) -> str:
    """The state in which a job stays; empty: that which it should have."""
    end, state = time.monotonic() + ANSWER_TIMEOUT_SECONDS, ""
    while time.monotonic() < end:
        try:
            state = (await client.record(job)).state
        except StoreError as error:
            state = str(error)
        if state == ("held" if role == "dead" else "done"):
            return ""
        await asyncio.sleep(0.5)
    return state


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
