"""Scenario outage: every backend is away for a minute while jobs arrive, and more is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.environment import VALKEY_DOWN_SECONDS, Environment, Service, environment, mock_upstream, now_ms
from tests.chaos.harness import Fault, Run, workers
from tests.chaos.outage_plan import BRIEF, RELEASE_FIRST, RELEASE_LIMIT, ROLES, UPSTREAMS, Plan
from tests.chaos.progress import Progress
from tests.chaos.worker_pool import WorkerPool, until

POOL, DEGRADE = "gpu", "degrade"
CASE = {"upstreams": UPSTREAMS, "brief": BRIEF, "release_first": RELEASE_FIRST, "release_limit": RELEASE_LIMIT}
SECRET = "whsec_" + "b3BlbmZhbGwgb3V0YWdlIGRyaWxsIHNlY3JldA=="


@dataclass
class OutageFaults:
    """Commits the faults of a plan, and records them."""

    environment: Environment
    pool: WorkerPool
    upstreams: Sequence[Service]
    notifier: Service
    random: random.Random
    log_line: Callable[[str], None]
    away: dict[str, float] = field(default_factory=dict)

    def by_kind(self) -> dict[str, Fault]:
        """The faults by the names of the plan."""
        return {
            "backends-away": lambda: self._kill("backends", self.upstreams),
            "backends-back": lambda: self._start("backends", self.upstreams),
            "notifier-away": lambda: self._kill("notifier", [self.notifier]),
            "notifier-back": lambda: self._start("notifier", [self.notifier]),
            "worker": lambda: self._kill_worker(POOL, "worker"),
            "degrade": lambda: self._kill_worker(DEGRADE, "degrade"),
            "valkey": self._kill_valkey,
        }

    async def _kill(self, name: str, services: Sequence[Service]) -> None:
        self.away[name] = now_ms()
        pids = ", ".join(f"{service.name} {service.kill()}" for service in services)
        self.log_line(f"[bold red]kill -9[/bold red] {name} ({pids}); they stay away for now")

    async def _start(self, name: str, services: Sequence[Service]) -> None:
        for service in services:
            await asyncio.to_thread(service.start)
        self.environment.fault_log.note(name, self.away.pop(name), ended=now_ms())
        self.log_line(f"[bold green]back[/bold green]: {name}")

    async def _kill_worker(self, pool: str, kind: str) -> None:
        choices = await until(lambda: self.pool.undisturbed(pool) or None, what=f"a worker of {pool} to kill")
        victim = self.random.choice(choices)
        self.pool.kill(victim, kind)
        self.log_line(f"[bold red]kill -9[/bold red] a worker of {pool} ({victim.pid}); its supervisor starts another")

    async def _kill_valkey(self) -> None:
        self.log_line(f"[bold red]kill -9[/bold red] Valkey; it is back in {VALKEY_DOWN_SECONDS:g} s")
        await self.environment.kill_valkey()


async def run(plan: Plan, directory: Path, progress: Progress) -> dict[str, Any]:
    """Run a plan in an empty directory; returns the verdict, with the problems of the run."""
    (directory / "case.json").write_text(json.dumps(CASE))
    receiver = "tests.chaos.receiver"
    notifier = Service("notifier", receiver, ["--log", str(directory / "notifier.jsonl")], directory)
    hooks = Service("hooks", receiver, ["--log", str(directory / "hooks.jsonl")], directory)
    upstreams = [mock_upstream(name, plan.latency_ms, directory) for name in UPSTREAMS]
    with environment(directory, plan.slots, [notifier, hooks, *upstreams]) as env:
        env.write_config(_fleet_config(plan, upstreams, notifier))
        with workers(env, [*[POOL] * plan.workers, *[DEGRADE] * plan.degraders]) as pool:
            faults = OutageFaults(env, pool, upstreams, notifier, random.Random(plan.seed), progress.log_line)
            return await Run("outage", env, pool, progress, f"{hooks.url}/hook").judged(plan, faults.by_kind())


def _fleet_config(plan: Plan, upstreams: Sequence[Service], notifier: Service) -> dict[str, Any]:
    """The breakers are quick: an outage of a minute spans several of their periods."""
    urgency = {"start_within": "1s", "expires_after": "1h"}
    return {
        "pools": {"gpu": {}},
        "backends": {
            service.name: {"protocol": "openai", "url": f"{service.url}/v1", "pool": "gpu", "slots": plan.slots}
            for service in upstreams
        },
        "models": {model: {"upstream": "mock", "backends": [name], "timeout": 10} for name, model in UPSTREAMS.items()},
        "roles": {
            **{name: {"chain": list(chain)} for name, chain in ROLES.items()},
            BRIEF: {"chain": list(ROLES[BRIEF]), "open_fall": ["canned_reply"]},
        },
        "urgency": dict.fromkeys(("interactive", "background", "batch"), urgency),
        "retry": {"max_retries": 0},
        "breakers": {"consecutive_failures": 3, "open_for": "2s", "open_for_max": "4s", "slow_start": "1s"},
        "open_fall": {
            "interactive": ["canned_reply", "hold"],
            "default": ["hold"],
            "release": {"initial": RELEASE_FIRST, "max": RELEASE_LIMIT},
            "notify": {"discord": f"{notifier.url}/api/webhooks/1/drill", "rate_limit": "1 per 10m"},
        },
        "webhooks": {"secret": SECRET, "private": "yes"},
        "workers": {"slots": plan.slots},
    }
