"""The scenario `garbage`: another program overwrites every key of docs/redis.md, one after another, under load.

Workers of three pools, the degrade worker and a gateway run. After each damage everything must work for new requests:
the APIs, the page, the commands, jobs of every kind. In the end no process has ended or logged an unexpected error, and
each job that was accepted before a damage, and none of whose own keys was overwritten, has its answer or is held.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis

from openfall import AsyncOpenfall, config
from openfall.producers.gateway.gateway import KEYS_TTL_SECONDS
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.unreadable_values import list_unreadable
from tests.chaos.environment import environment
from tests.chaos.garbage_checks import TIMEOUT_SECONDS, Checks, Problem, chat_body, sign_in, submit_batch
from tests.chaos.garbage_damages import damage_key
from tests.chaos.garbage_fleet import PARKED, GarbageFleet, fill, garbage_fleet, park, upstreams
from tests.chaos.garbage_keys import (
    KEPT,
    NOT_DAMAGED,
    PAGE,
    TRANSIENT,
    KeyPattern,
    documented_keys,
    not_noted_keys,
    sort_keys,
)
from tests.chaos.judge.promise import PATIENCE
from tests.chaos.progress import Progress

EARLIER_JOBS = 3
"""Of each role, before the keys are damaged in one way."""
IN_FLIGHT = 2
"""Calls of the slow model that are always in flight, from the client and from the gateway."""
UNAUTHORIZED = 401
BAD_WORDS = ("unexpected error", "internal error", "Traceback")
FAULTS = ("processes_ended", "lost", "never_damaged", "undocumented", "not_noted")
"""Figures of a verdict that must be empty."""
KEYS_OF_CALLERS = "of:client-keys"
"""After its damage the gateway opens to no caller without a key, and an operator makes the key of the drill again."""
SIGN_INS = "of:page-session:*"
PAUSES = "of:paused"
KEYS_OF_A_JOB = ("of:job:", "of:prompt:", "of:result:", "of:events:", "of:answers:")
"""After their damage people look at the job."""
REPLY_SECONDS = 60.0
"""A Redis that answers later than the fleet can bear is for the checks to find."""
WORKERS_SECONDS = 15.0 * PATIENCE
"""Within this time every worker has beaten again, and gateways have read the keys of their callers again."""
APPEARS_WITHIN = 60
"""Looks, a tenth of a second apart, for a key that calls in flight have."""


async def run(damages: Sequence[str], every: int, only: str, directory: Path, progress: Progress) -> dict[str, Any]:
    """Damage each key in each of these ways, or one in `every` of them; returns the verdict.

    `only`: the keys of the tables whose names contain it."""
    services = upstreams(directory)
    with environment(directory, 16, services) as env:
        async with garbage_fleet(env, {service.name: service for service in services}) as fleet:
            settings = config.load(env.config, environ={})
            async with (
                AsyncOpenfall(config=settings) as client,
                httpx.AsyncClient(base_url=fleet.gateway, timeout=TIMEOUT_SECONDS) as http,
            ):
                drill = GarbageDrill(fleet, Checks(fleet, client, http), progress, every, only)
                with redis.Redis.from_url(env.server.url, socket_timeout=REPLY_SECONDS) as store:
                    await drill.walk(damages, store)
                lost = await drill.lost()
            figures = {"processes_ended": fleet.ended, "lost": lost, **drill.figures()}
    return judge(drill.rows, figures)


def judge(rows: Sequence[dict[str, Any]], figures: dict[str, Any]) -> dict[str, Any]:
    """The verdict. A row is broken if something beside the damaged key did not work."""
    broken = [row for row in rows if row["problems"]]
    counted = (len(rows), figures["unreadable_values"], figures["earlier_jobs"])
    kept = not broken and not any(figures[name] for name in FAULTS) and min(counted) > 0
    return {"kept": kept, "broken": broken, "figures": {"damages": len(rows), **figures}, "problems": []}


@dataclass
class GarbageDrill:
    """The walk over the keys."""

    fleet: GarbageFleet
    checks: Checks
    progress: Progress
    every: int
    only: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    earlier: dict[str, str] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)
    undocumented: set[str] = field(default_factory=set)
    never_damaged: set[str] = field(default_factory=set)
    log_sizes: dict[Path, int] = field(default_factory=dict)
    workers: set[tuple[str, bytes]] = field(default_factory=set)
    patterns: list[KeyPattern] = field(default_factory=lambda: documented_keys(PAGE.read_text()))

    async def walk(self, damages: Sequence[str], store: redis.Redis) -> None:
        """Damage every key in each way."""
        await fill(self.fleet, self.checks.client)
        await sign_in(self.checks)
        await self._fill_paused_queue()
        if problems := await self.checks.run():
            raise AssertionError(f"before any damage: {problems}")
        self.workers = _known_workers(store)
        load = [asyncio.create_task(self._load(number)) for number in range(IN_FLIGHT)]
        rng, turn = random.Random(1), 0
        try:
            for damage in damages:
                await self._submit_earlier(damage)
                for pattern in self.patterns:
                    turn += self.only in pattern.name
                    left = pattern.name in NOT_DAMAGED or (damage == "gone" and pattern.name in KEPT)
                    if not left and self.only in pattern.name and turn % self.every == 0:
                        await self._damage(pattern, damage, store, rng)
        finally:
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)

    async def _fill_paused_queue(self) -> None:
        await park(self.fleet)
        await submit_batch(self.checks, "parked", self.checks.text())

    async def _load(self, number: int) -> None:
        """Keep a call of the slow model and one of an ensemble in flight."""
        while True:
            texts = [self.checks.text() for _ in range(3)]
            with suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await asyncio.gather(
                        self.checks.client.ask(texts[0], role="slow"), self.checks.client.ask(texts[1], role="both"),
                        self.checks.post("/v1/chat/completions", chat_body(texts[2], "slow")), return_exceptions=True,
                    )  # fmt: skip
            await asyncio.sleep(0.1 * (number + 1))

    async def _submit_earlier(self, damage: str) -> None:
        for role in ("dead", "good"):
            for number in range(EARLIER_JOBS):
                key = f"{damage} {role} {number}"
                receipt = await self.checks.client.submit(key, role=role, idempotency_key=key, inbox="bot")
                self.earlier[receipt.id] = role
        await asyncio.sleep(0.5)

    async def _damage(self, pattern: KeyPattern, damage: str, store: redis.Redis, rng: random.Random) -> None:
        if (key := await self._key_of(pattern, store, rng)) is None:
            self.never_damaged.add(pattern.name)
            return
        damage_key(store, key, damage, rng)
        problems = []
        if damage == "gone" and pattern.name == PAUSES:  # until it is written again, what waits in the queue runs
            await self._fill_paused_queue()
        if pattern.name == KEYS_OF_CALLERS:
            problems += await self._look_without_key()
            await asyncio.to_thread(self.fleet.make_key)
            store.delete(*store.scan_iter(SIGN_INS))  # with the key that is gone: nothing reads them any more
            await self._sign_in()
        elif pattern.name.startswith(KEYS_OF_A_JOB):
            problems += await self._look_at_job(key.rpartition(b":")[2].decode(errors="replace"))
        problems += [*await self._wait_for_workers(store), *await self.checks.run(), *self._bad_log_lines()]
        if PARKED.encode() not in store.smembers("of:paused"):
            problems.append(f"the queue {PARKED} is not paused any more")
        await self._read_notes()
        row = {"pattern": pattern.name, "key": key.decode(errors="replace"), "damage": damage, "problems": problems}
        self.rows.append(row)
        self.progress.log_line(f"{len(self.rows)}: {row['key'][:60]} {damage} {problems or ''}")

    async def _look_without_key(self) -> list[str]:
        """A gateway whose keys cannot be read serves no caller without one."""
        await asyncio.to_thread(self.fleet.cli, "keys", "list")
        await asyncio.sleep(KEYS_TTL_SECONDS)
        answer = await self.checks.http.get("/v1/models")
        return [] if answer.status_code == UNAUTHORIZED else [f"without a key: {answer.status_code}"]

    async def _look_at_job(self, job_id: str) -> list[str]:
        outputs = [await asyncio.to_thread(self.fleet.cli, "job", verb, job_id) for verb in ("show", "why")]
        return [f"openfall job: {output[:300]}" for _, output in outputs if any(word in output for word in BAD_WORDS)]

    async def _read_notes(self) -> None:
        self.noted |= {value.place for value in await list_unreadable(self.checks.client.store.connection)}

    async def _wait_for_workers(self, store: redis.Redis) -> list[str]:
        """Until their next beat no worker may be known to be alive, and interactive jobs may get an interim reply."""
        end = time.monotonic() + WORKERS_SECONDS
        while missing := self.workers - _known_workers(store):
            if time.monotonic() > end:
                return [f"{len(missing)} workers are not registered again"]
            await asyncio.sleep(0.1)
        return []

    async def _sign_in(self) -> None:
        """Sign in with a new key, which gateways read within some seconds."""
        end = time.monotonic() + WORKERS_SECONDS
        while True:
            try:
                return await sign_in(self.checks)
            except Problem:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    async def _key_of(self, pattern: KeyPattern, store: redis.Redis, rng: random.Random) -> bytes | None:
        """A key of this pattern. One that comes and goes is waited for, or its name is used without it."""
        for _ in range(APPEARS_WITHIN):
            keys = sort_keys(store.scan_iter(count=1000), self.patterns)
            self.undocumented |= {key.decode(errors="replace") for key in keys.get("", [])}
            if candidates := keys.get(pattern.name):
                return rng.choice(candidates)
            if pattern.name in TRANSIENT:
                return TRANSIENT[pattern.name].encode()
            await asyncio.sleep(0.1)
        return None

    def _bad_log_lines(self) -> list[str]:
        """Lines of errors of openfall itself since the last look."""
        bad = []
        for child in self.fleet.children:
            text = child.log.read_bytes()[self.log_sizes.get(child.log, 0) :]
            self.log_sizes[child.log] = self.log_sizes.get(child.log, 0) + len(text)
            lines = text.decode(errors="replace").splitlines()
            bad += [f"{child.log.name}: {line[:600]}" for line in lines if any(word in line for word in BAD_WORDS)]
        return bad

    def figures(self) -> dict[str, Any]:
        """What the judge needs beside the rows."""
        garbage = [row for row in self.rows if row["damage"] == "garbage"]  # half of a number is a number
        excused = not_noted_keys(PAGE.read_text())
        silent = sorted({row["pattern"] for row in garbage} - excused - {
            row["pattern"] for row in garbage if is_noted(row, self.noted)})  # fmt: skip
        return {
            "patterns": len({row["pattern"] for row in self.rows}), "earlier_jobs": len(self.earlier),
            "unreadable_values": len(self.noted), "never_damaged": sorted(self.never_damaged),
            "undocumented": sorted(self.undocumented), "not_noted": silent,
        }  # fmt: skip

    async def lost(self) -> list[str]:
        """The earlier jobs that have no answer and are not held, but for those whose own keys were overwritten."""
        damaged = [row["key"] for row in self.rows]
        judged = {job: role for job, role in self.earlier.items() if not any(job in key for key in damaged)}
        states = await asyncio.gather(*(_last_state(job, role, self.checks.client) for job, role in judged.items()))
        await self._read_notes()
        return [f"{job} ({judged[job]}): {state}" for job, state in zip(judged, states, strict=True) if state]


def is_noted(row: dict[str, Any], noted: Iterable[str]) -> bool:
    """Whether a note names the key of a row. The key of a sign-in has the hash of a cookie, which no note has."""
    names = (row["key"], re.sub(r"\{.*", "*", row["pattern"]))
    if row["pattern"].startswith(KEYS_OF_A_JOB):  # a job that cannot be read is noted by its record
        names += ("of:job:" + row["key"].rpartition(":")[2],)
    return any(place.startswith(names) for place in noted)


def _known_workers(store: redis.Redis) -> set[tuple[str, bytes]]:
    """The workers that are registered and alive, with their queues; none while one of these keys is of another type."""
    try:
        names = {name.decode(errors="replace").removeprefix("rq:worker:") for name in store.smembers("rq:workers")}
        alive = {name.decode(errors="replace") for name in store.zrangebyscore("of:presence", _now_ms(store), "+inf")}
        return {(name, store.hget(f"rq:worker:{name}", "queues") or b"") for name in names & alive}
    except redis.ResponseError:
        return set()


def _now_ms(store: redis.Redis) -> int:
    seconds, _ = store.time()
    return 1000 * int(seconds)


async def _last_state(job: str, role: str, client: AsyncOpenfall) -> str:
    """The state in which a job stays; empty: that which it should have."""
    end, state = time.monotonic() + TIMEOUT_SECONDS, ""
    while time.monotonic() < end:
        try:
            state = (await client.record(job)).state
        except StoreError as error:
            state = str(error)
        if state == ("held" if role == "dead" else "done"):
            return ""
        await asyncio.sleep(0.5)
    return state
