"""Runs of traces by real workers: an Ollama look-alike with a memory, and time that passes some thirty times as fast.

Each trace runs with a card (openfall decides what it loads) and without (the engine does, by Ollama's rule).
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.processes import BenchmarkError, started, wait_for
from benchmarks.run_environment import START_TIMEOUT_S
from benchmarks.server import Server, find_free_port, valkey
from benchmarks.swaps.card_simulator import START_WITHIN, SimJob, Trace
from benchmarks.swaps.job_traces import abab, bots, night, studio
from benchmarks.swaps.our_rule import Clairvoyant, OurRule
from benchmarks.swaps.peer_rules import LlamaSwapRule
from benchmarks.swaps.simulated_runs import FORESIGHT, LLAMA_SWAP, OURS, Measured, measure, simulate
from openfall.producers.client import AsyncOpenfall

WITHOUT_CARD, SIMULATED = "openfall, no card", "openfall, simulated"
TRACES: Mapping[str, Callable[[], Trace]] = {
    "night": lambda: night(1, 1000), "abab": lambda: abab(1, each=30), "bots": lambda: bots(1, 0.4),
    "studio": lambda: studio(1, 0.1),
}  # fmt: skip
QUICK_TRACES: Mapping[str, Callable[[], Trace]] = {"short night": lambda: night(1, 120)}
SCALE = 30.0
WORKERS = 2
URGENCIES = ("interactive", "background", "batch")
STILL_SECONDS = 45.0
"""After this time without any event of the engine none is expected (wall clock)."""


def run_all(quick: bool, console: Console) -> dict[tuple[str, str], Measured]:
    """Every trace with a card and without, beside the simulated rules on the same jobs."""
    figures = {}
    for name, make in (QUICK_TRACES if quick else TRACES).items():
        for rule in (OURS, WITHOUT_CARD):
            console.print(f"[dim]{name}: {rule}[/dim]", highlight=False)
            figures[name, rule] = run_one(make(), has_card=rule == OURS)
        for rule, simulated in ((SIMULATED, OurRule), (LLAMA_SWAP, LlamaSwapRule), (FORESIGHT, Clairvoyant)):
            figures[name, rule] = simulate(make(), simulated(), 1)
    return figures


def run_one(trace: Trace, *, has_card: bool, scale: float = SCALE) -> Measured:
    """One run on a fleet of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openfall-bench-")))
        run = _Run(trace, directory, scale, stack.enter_context(valkey()), find_free_port(), has_card)
        stack.enter_context(run.fleet())
        asyncio.run(run.submit())
        run.wait_until_done()
        return run.measured()


@dataclass
class _Run:
    trace: Trace
    directory: Path
    scale: float
    server: Server
    port: int
    has_card: bool
    began_at: float = 0.0

    @property
    def engine_log(self) -> Path:
        return self.directory / "engine.jsonl"

    @contextmanager
    def fleet(self) -> Iterator[None]:
        """The engine and the workers."""
        config = self.directory / "openfall.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        engine = [sys.executable, "-m", "tests.chaos.card_server", *self._engine_options()]
        work = [sys.executable, "-m", "benchmarks.swaps.scaled_worker", str(self.scale), "work", "gpu"]
        with ExitStack() as stack:
            output = self.directory / "engine.out"
            child = stack.enter_context(started(engine, output))
            wait_for(lambda: "\n" in output.read_text(), START_TIMEOUT_S, "the engine to start", child)
            for number in range(WORKERS):
                log = self.directory / f"worker-{number}.log"
                child = stack.enter_context(started([*work, "--config", str(config)], log))
            wait_for(lambda: self.server.client.zcard("of:presence") >= WORKERS, START_TIMEOUT_S, "the workers", child)
            yield

    async def submit(self) -> None:
        """Every job at its moment."""
        async with AsyncOpenfall(config=self.directory / "openfall.yaml") as client:
            self.began_at = time.time()
            tasks = []
            for job in sorted(self.trace.jobs, key=lambda job: job.accepted_at):
                await asyncio.sleep(max(0.0, self.began_at + job.accepted_at / self.scale - time.time()))
                tasks.append(asyncio.create_task(self._submit_one(client, job)))
            await asyncio.gather(*tasks)

    async def _submit_one(self, client: AsyncOpenfall, job: SimJob) -> None:
        text = f"takes {job.work_seconds / self.scale:.4f} {job.number}"
        await client.submit(text, model=job.model, urgency=URGENCIES[job.urgency])

    def wait_until_done(self) -> None:
        """Until the engine has answered every job, or does nothing any more: without a card jobs expire in it."""
        size, changed_at = 0, time.time()
        while len({row["job"] for row in self._rows() if row["event"] == "answered"}) < len(self.trace.jobs):
            now = self.engine_log.stat().st_size
            if now != size:
                size, changed_at = now, time.time()
            elif time.time() - changed_at > STILL_SECONDS:
                if self.has_card:
                    raise BenchmarkError("the jobs do not end")
                return
            time.sleep(0.5)

    def measured(self) -> Measured:
        """What the engine wrote down, in seconds of the trace."""
        jobs = {job.number: job for job in self.trace.jobs}
        calls = 0
        for row in self._rows():
            if row["event"] in ("call", "answered"):
                job = jobs[int(str(row["job"]).split()[2])]
                at = (row["at"] - self.began_at) * self.scale
                calls += row["event"] == "call"
                if row["event"] == "call":
                    job.started_at = max(at, job.accepted_at)
                else:
                    job.ended_at = at
        loads = sum(row["event"] == "load" for row in self._rows())
        measured = measure(self.trace, self.trace.jobs, loads=loads, firsts=())
        return replace(measured, put_back=calls - len(jobs))

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return (
            [json.loads(line) for line in self.engine_log.read_text().splitlines()] if self.engine_log.exists() else ()
        )

    def _engine_options(self) -> list[str]:
        models = [
            f"{model.name}={model.vram_gb},{model.load_seconds / self.scale},0,{model.slots}"
            for model in self.trace.models
        ]
        options = ["--port", str(self.port), "--log", str(self.engine_log), "--vram", str(self.trace.cards[0][1])]
        return [*options, "--shared", *(part for model in models for part in ("--model", model))]

    def _duration(self, seconds: float) -> str:
        return f"{seconds / self.scale * 1000:.0f}ms"

    def _config(self) -> dict[str, Any]:
        backend = {"url": f"http://127.0.0.1:{self.port}", "protocol": "ollama", "pool": "gpu"}
        backend |= {"slots": sum(model.slots for model in self.trace.models) if self.has_card else 4}
        card = {"vram_gb": self.trace.cards[0][1]} if self.has_card else {}
        return {
            "redis": self.server.url,
            "data": str(self.directory / "data"),
            "backends": {"tower": {**backend, **card}},
            "urgency": {name: {"start_within": self._duration(START_WITHIN[i])} for i, name in enumerate(URGENCIES)},
            "models": {
                model.name: {
                    "upstream": model.name, "backends": ["tower"], "load_time": self._duration(model.load_seconds),
                    "vram_gb": model.vram_gb, **({"slots": model.slots} if self.has_card else {}),
                }
                for model in self.trace.models
            },
            "roles": {"main": {"chain": [self.trace.models[0].name]}},
        }  # fmt: skip
