"""The scenario `hostile`: one worker process for each kind of hostile upstream, and a healthy one beside it.

Some jobs go to the hostile upstream, whole and streamed, while small jobs go to the healthy one at a steady pace. A
worker keeps its promise if it lives, stays under a bound of memory, blocks its event loop for no longer than a bound,
answers every small job in time, and no breaker of the healthy upstream opens.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.processes import started, wait_for
from openfall import AsyncOpenfall, config
from openfall.router_core.state.breakers import list_breakers
from tests.chaos.environment import Environment, environment, mock_upstream
from tests.chaos.hostile_upstream import KINDS, UNREAD, serving
from tests.chaos.judge.promise import PATIENCE
from tests.chaos.progress import Progress

MAX_MEMORY_MB = 300
MAX_BLOCKED_SECONDS = 0.25
MAX_ANSWER_SECONDS = 3.0
"""Of a small job, on a busy machine. Undisturbed it takes 0.05 s."""

ATTACKS = 4
SMALL_JOBS_A_SECOND = 10
TIMEOUT_SECONDS = 4.0
SLOTS = 16
PROMPT_BYTES = 3 * 2**20
"""Of a request that an upstream does not read to its end."""
PATTERNS = {"a_text_for_an_endless_pattern": "^(a+)+$"}
"""Of the role of these kinds: what an answer must match."""
_BLOCKED = re.compile(r"stood still for ([\d.]+) s")


async def run(kinds: Sequence[str], seconds: float, directory: Path, progress: Progress) -> dict[str, Any]:
    """Run these kinds one after another; returns the verdict."""
    rows = []
    async with serving(kinds) as urls:
        with environment(directory, SLOTS, [good := mock_upstream("good", 20.0, directory)]) as world:
            world.write_config(_document(urls, good.url))
            async with AsyncOpenfall(config=config.load(world.config, environ={})) as client:
                for kind in kinds:
                    progress.log_line(f"{kind}: {ATTACKS} jobs, and small ones for {seconds:g} s")
                    rows.append(await _run_kind(kind, seconds, world, client))
    return {"kept": all(row["kept"] for row in rows), "rows": rows, "problems": []}


def _document(urls: dict[str, str], good: str) -> dict[str, Any]:
    """A pool for each kind, with the hostile upstream and the healthy one."""
    document: dict[str, Any] = {"pools": {}, "backends": {}, "models": {}, "roles": {}}
    for kind, url in urls.items():
        document["pools"][kind] = {"local": True}
        for name, where, patience in ((f"bad_{kind}", url, 1), (f"good_{kind}", good, PATIENCE)):
            document["backends"][name] = {"url": where, "pool": kind, "slots": SLOTS}
            limits = {"timeout": TIMEOUT_SECONDS * patience, "context": PROMPT_BYTES}
            document["models"][name] = {"upstream": name, "backends": [name], **limits}
            document["roles"][name] = {"chain": [name]}
        if kind in PATTERNS:
            document["roles"][f"bad_{kind}"]["pattern"] = PATTERNS[kind]
    return document


async def _run_kind(kind: str, seconds: float, world: Environment, client: AsyncOpenfall) -> dict[str, Any]:
    log = world.directory / f"worker-{kind}.log"
    with ExitStack() as stack:
        child = stack.enter_context(started(world.worker_argv(kind), log))
        await asyncio.to_thread(wait_for, lambda: '"ready"' in log.read_text(), 60.0, "a worker", child)
        for number in range(ATTACKS):
            streamed = number % 2 == 0
            urgency = "interactive" if streamed else "background"
            prompt = f"attack {number} {'a' * PROMPT_BYTES if kind in UNREAD else ''}"
            await client.submit(prompt, role=f"bad_{kind}", urgency=urgency, stream=streamed)  # type: ignore[arg-type]
        calls = []
        for number in range(int(seconds * SMALL_JOBS_A_SECOND)):
            job = client.ask(f"small {number}", role=f"good_{kind}", timeout=60.0)
            calls.append(asyncio.create_task(job))
            await asyncio.sleep(1 / SMALL_JOBS_A_SECOND)
        results = await asyncio.gather(*calls)
        memory = _peak_mb(child.popen.pid) if child.popen.poll() is None else 0
        breakers = await list_breakers(client.store.connection)
        child.popen.kill()
    blocked = max(map(float, _BLOCKED.findall(log.read_text())), default=0.0)
    row = {
        "kind": kind,
        "alive": memory > 0,
        "memory_mb": memory,
        "blocked_seconds": blocked,
        "answered": sum(result.answered for result in results),
        "asked": len(results),
        "slowest_seconds": max(result.took for result in results),
        "healthy_breaker": next((str(b.state) for b in breakers if b.target.startswith(f"good_{kind}/")), "closed"),
    }
    return {**row, "kept": is_kept(row)}


def is_kept(row: dict[str, Any]) -> bool:
    """Whether a worker kept its promise."""
    return bool(
        row["alive"]
        and row["memory_mb"] < MAX_MEMORY_MB
        and row["blocked_seconds"] <= MAX_BLOCKED_SECONDS
        and row["answered"] == row["asked"]
        and row["slowest_seconds"] <= MAX_ANSWER_SECONDS
        and row["healthy_breaker"] == "closed"
    )


def _peak_mb(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) // 1024 if match else 0


ALL_KINDS = tuple(KINDS)
