"""Where an outage drill takes place: a Valkey, two upstreams, a notifier, a receiver of webhooks; all can be killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.outage_drilling.plan import BRIEF, RELEASE_FIRST, RELEASE_MOST, ROLES, UPSTREAMS, Plan
from benchmarks.outage_drilling.services import Service
from benchmarks.processes import Child, started
from benchmarks.torturing.arena import Chronicle, Store

SECRET = "whsec_" + "b3BlbmZhbGwgb3V0YWdlIGRyaWxsIHNlY3JldA=="


@dataclass
class Stage:
    """All of it."""

    plan: Plan
    directory: Path
    store: Store
    chronicle: Chronicle
    upstreams: dict[str, Service]
    notifier: Service
    receiver: Service

    @property
    def config(self) -> Path:
        return self.directory / "openfall.yaml"

    def worker_argv(self, pool: str) -> list[str]:
        """The command line of a worker."""
        argv = [sys.executable, "-m", "openfall.workers", "work", pool, "--config", str(self.config), "--announce"]
        return [*argv, "--slots", str(self.plan.slots)]

    def spooled(self) -> int:
        """Settles that wait on disk."""
        return len(list((self.directory / "data" / "spool").glob("*")))


@contextmanager
def stage(plan: Plan, directory: Path) -> Iterator[Stage]:
    """Everything but the workers and the submitter, running."""
    store = Store(directory)
    ears = "benchmarks.outage_drilling.ears"
    notifier = Service("notifier", ears, ["--log", str(directory / "notifier.jsonl")], directory)
    receiver = Service("receiver", ears, ["--log", str(directory / "hooks.jsonl")], directory)
    upstreams = {name: _upstream(name, plan, directory) for name in UPSTREAMS}
    place = Stage(plan, directory, store, Chronicle(directory / "faults.jsonl"), upstreams, notifier, receiver)
    with ExitStack() as stack:
        stack.callback(store.stack.close)
        store.start()
        for service in (notifier, receiver, *upstreams.values()):
            stack.callback(service.stack.close)
            service.start()
        place.config.write_text(yaml.safe_dump(configuration(place)))
        yield place


@contextmanager
def submitting(place: Stage) -> Iterator[Child]:
    """The submitter, at work."""
    plan = place.plan
    argv = [sys.executable, "-m", "benchmarks.outage_drilling.submitter", "--config", str(place.config)]
    argv += ["--hook", f"{place.receiver.url}/hook", "--jobs", str(plan.jobs), "--seed", str(plan.seed)]
    with started([*argv, *(["--quick"] if plan.quick else [])], place.directory / "submitter.log") as child:
        yield child


def _upstream(name: str, plan: Plan, directory: Path) -> Service:
    options = ["--latency-ms", str(plan.latency_ms), "--log", str(directory / f"calls-{name}-{{start}}.jsonl")]
    return Service(name, "benchmarks.upstream", options, directory)


def configuration(place: Stage) -> dict[str, Any]:
    """Breakers so quick that an outage of a minute has several of their periods in it."""
    patient = {"start_within": "1s", "expires_after": "1h"}
    return {
        "redis": place.store.url,
        "data": str(place.directory / "data"),
        "pools": {"gpu": {}},
        "backends": {
            name: {"protocol": "openai", "url": f"{service.url}/v1", "pool": "gpu", "slots": place.plan.slots}
            for name, service in place.upstreams.items()
        },
        "models": {model: {"upstream": "mock", "backends": [name], "timeout": 10} for name, model in UPSTREAMS.items()},
        "roles": {
            **{name: {"chain": list(chain)} for name, chain in ROLES.items()},
            BRIEF: {"chain": list(ROLES[BRIEF]), "open_fall": ["canned_reply"]},
        },
        "urgency": {name: patient for name in ("interactive", "background", "batch")},
        "retry": {"max_retries": 0},
        "breakers": {"consecutive_failures": 3, "open_for": "2s", "open_for_max": "4s", "slow_start": "1s"},
        "open_fall": {
            "interactive": ["canned_reply", "hold"],
            "default": ["hold"],
            "release": {"initial": RELEASE_FIRST, "max": RELEASE_MOST},
            "notify": {"discord": f"{place.notifier.url}/api/webhooks/1/drill", "rate_limit": "1 per 10m"},
        },
        "webhooks": {"secret": SECRET, "private": "yes"},
        "workers": {"slots": place.plan.slots},
    }
