"""The scenario `silence`: one interactive caller, and every kind of fault on every model of every shipped chain.

Each shipped file runs on real workers and a real Valkey, with its backends on loopback. A caller follows its job with
the public client. Its *silence* is the time without an answer, a piece of it, a reply of Open Fall, or a word that the
model is being loaded or is writing. Hand-offs and queue positions are no words here.

The runs of a file go on side by side, each with a fault of its own. So its breakers never open and its backends have
more slots; all time limits are those of the file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.processes import started, wait_for
from openfall import AsyncOpenfall, config
from openfall.router_core.catalog.catalog import Catalog
from tests.chaos.environment import Environment, environment
from tests.chaos.progress import Progress
from tests.chaos.silent_upstream import serving
from tests.chaos.worker_pool import SNAPSHOT_SECONDS

FILES = ("ace", "groups", "artifacts", "echo-brain", "demo")
CONFIG = Path(__file__).resolve().parents[2] / "config"
LIMIT_SECONDS = 15.0
PARALLEL = 12
"""Callers at once: each has its own job and its own fault."""

WORDS = frozenset({"delta", "loading", "writing", "waiting", "degraded", "held", "done"})
"""Events that end a silence."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run: the `kind` (role or task) and name that a caller gives, and the fault of a model (`*`: of all)."""

    file: str
    kind: str
    target: str
    fault: str
    model: str

    @property
    def loads(self) -> bool:
        """Whether no model is in memory."""
        return self.fault == "load"


@dataclass(frozen=True, slots=True)
class Finding:
    """The longest silence of a caller, and what ended the wait."""

    case: Case
    silence: float
    total: float
    end: str


async def run(files: Sequence[str], faults: Sequence[str], directory: Path, progress: Progress) -> dict[str, Any]:
    """Run these files with these faults; returns the verdict."""
    findings: list[Finding] = []
    for name in files:
        home = directory / name
        home.mkdir()
        findings += await _run_file(name, faults, home, progress)
    rows = [_row(finding) for finding in sorted(findings, key=lambda finding: -finding.silence)]
    kept = all(row["silence"] <= LIMIT_SECONDS for row in rows)
    return {"kept": kept, "rows": rows, "limit": LIMIT_SECONDS, "problems": []}


async def _run_file(name: str, faults: Sequence[str], home: Path, progress: Progress) -> list[Finding]:
    document = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())
    upstreams = tuple(_plain(model["upstream"]) for model in document["models"].values())
    async with serving(upstreams) as upstream:
        with environment(home, 64, []) as world:
            world.write_config(_on_loopback(document, upstream.url))
            loaded = config.load(world.config, environ={})
            with ExitStack() as stack:
                await asyncio.to_thread(_start_workers, world, loaded.catalog, stack)
                await asyncio.sleep(SNAPSHOT_SECONDS)
                cases = list(_cases(name, loaded.catalog, faults))
                progress.log_line(f"{name}: {len(cases)} callers")
                async with AsyncOpenfall(config=loaded) as client:
                    free = asyncio.Semaphore(PARALLEL)
                    findings = await asyncio.gather(*(_call(client, case, free) for case in cases if not case.loads))
                    upstream.loaded = ()
                    return findings + await asyncio.gather(*(_call(client, case, free) for case in cases if case.loads))


def _start_workers(world: Environment, catalog: Catalog, stack: ExitStack) -> None:
    pools = {catalog.pool_of(alias) for alias in catalog.models}
    for pool in [*sorted(pools), "degrade"]:
        log = world.directory / f"worker-{pool}.log"
        child = stack.enter_context(started(world.worker_argv(pool), log))
        wait_for(lambda log=log: "\n" in log.read_text(), 60.0, f"a worker of {pool}", child)  # type: ignore[misc]


def _plain(text: str) -> str:
    """A value without its variable: the default of `${NAME:-default}`."""
    return text.partition(":-")[2].rstrip("}") if text.startswith("${") else text


def _on_loopback(document: dict[str, Any], url: str) -> dict[str, Any]:
    """The file with its backends at `url`, without what needs other machines. Its time limits are untouched."""
    for backend in document["backends"].values():
        backend.pop("embedded", None)
        backend.pop("engine", None)
        backend.pop("auth_token", None)
        backend |= {"url": url, "api_key": "k", "slots": 64}
    for model in document["models"].values():
        model["upstream"] = _plain(model["upstream"])
    document.get("open_fall", {}).pop("notify", None)
    document["breakers"] = {"consecutive_failures": 10_000, "minimum_calls": 10_000}
    document["privacy"] = {"keep_prompts": False}
    document.pop("redis", None)
    return document


def _cases(file: str, catalog: Catalog, faults: Sequence[str]) -> Iterator[Case]:
    chains = [("role", name, role.chain) for name, role in catalog.roles.items()]
    chains += [("task", name, task.chain) for name, task in catalog.tasks.items()]
    for kind, name, chain in chains:
        for fault in faults:
            yield Case(file, kind, name, fault, "*")
            yield from (Case(file, kind, name, fault, catalog.models[alias].upstream) for alias in chain)


async def _call(client: AsyncOpenfall, case: Case, free: asyncio.Semaphore) -> Finding:
    """Follow one job until its answer or its reply."""
    async with free:
        prompt = f"Please answer. fault={case.fault}@{case.model}"
        began = last = time.monotonic()
        silence, end = 0.0, "nothing"
        options: Any = {case.kind: case.target}
        receipt = await client.submit(prompt, urgency="interactive", **options)
        async for event in client.stream(receipt, deltas=False):
            if event["event"] not in WORDS:
                continue
            now = time.monotonic()
            silence, last = max(silence, now - last), now
            if event["event"] == "done":
                result = event["result"]
                end = f"{result.status} by {result.model or 'Open Fall'}"
                break
            if event["event"] == "held":
                end = "degraded by Open Fall"
                break
        return Finding(case, silence, time.monotonic() - began, end)


def _row(finding: Finding) -> dict[str, Any]:
    case = finding.case
    return {
        "file": case.file, "target": case.target, "fault": case.fault,
        "model": "all" if case.model == "*" else case.model,
        "silence": round(finding.silence, 1), "total": round(finding.total, 1), "end": finding.end,
    }  # fmt: skip
