"""Runs of traces by real workers: an Ollama look-alike with a memory, and time that passes some thirty times as fast.

Each trace runs with a card (openfall decides what it loads) and without (the engine does, by Ollama's rule). The rules
are simulated on the same jobs too. Real calls cost a little more than the engine's time, and a short time scale makes
that a lot: how much is measured before each trace, with one model that stays, and added to the calls that are simulated
and to the bounds.
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

from benchmarks.processes import started, wait_for
from benchmarks.run_environment import START_TIMEOUT_S
from benchmarks.server import Server, find_free_port, valkey
from benchmarks.swaps.card_simulator import BATCH, START_WITHIN, CardRule, SimJob, Trace
from benchmarks.swaps.job_traces import CARD_24, THINK, JobWriter, abab, bots, night, studio
from benchmarks.swaps.our_rule import Clairvoyant, OurRule
from benchmarks.swaps.peer_rules import LlamaSwapRule, OllamaRule
from benchmarks.swaps.simulated_runs import FORESIGHT, LLAMA_SWAP, OLLAMA, OURS, SIMULATED, Measured, measure, simulate
from openfall.producers.client import AsyncOpenfall

WITHOUT_CARD = "openfall, no card"
SIMULATED_RULES: Mapping[str, Callable[[], CardRule]] = {
    SIMULATED: OurRule, LLAMA_SWAP: LlamaSwapRule, OLLAMA: OllamaRule, FORESIGHT: Clairvoyant,
}  # fmt: skip
TRACES: Mapping[str, Callable[[], Trace]] = {
    "night": lambda: night(1, 600), "abab": lambda: abab(1, each=30), "bots": lambda: bots(1, 0.4),
    "studio": lambda: studio(1, 0.1),
}  # fmt: skip
QUICK_TRACES: Mapping[str, Callable[[], Trace]] = {
    "night": lambda: night(1, 240), "abab": lambda: abab(1, each=15),
}  # fmt: skip
SCALE = 30.0
WORKERS = 2
STEADY_JOBS = 80
"""Of one model, to measure what a call costs beside the time of the engine."""
URGENCIES = ("interactive", "background", "batch")
STILL_SECONDS = 30.0
"""After this time without any event of the engine none is expected (wall clock)."""
LIMIT_FACTOR, LIMIT_SECONDS = 4.0, 60.0
"""A run is stopped after this multiple of the time that Ollama's rule would take, and this time (wall clock)."""
REPORT_SECONDS = 10.0


def run_all(names: Sequence[str], console: Console, *, quick: bool) -> dict[tuple[str, str], Measured]:
    """Each of these traces with a card and without, beside the simulated rules on the same jobs."""
    figures = {}
    for name in names:
        make = (QUICK_TRACES if quick else TRACES)[name]
        overhead = call_overhead(console)
        console.print(f"[dim]{name}: a call costs {overhead:.2f} s of the trace more than the engine's time[/dim]")
        for rule in (OURS, WITHOUT_CARD):
            reports = Reports(console, f"{name}, {rule}")
            figures[name, rule] = run_one(make(), overhead, reports, has_card=rule == OURS)
        for rule, simulated in SIMULATED_RULES.items():
            figures[name, rule] = simulate(with_overhead(make(), overhead), simulated(), 1)
    return figures


def call_overhead(console: Console) -> float:
    """The seconds of the trace that a call takes beside the time of the engine, here and now."""
    writer = JobWriter(1)
    for _ in range(STEADY_JOBS):
        writer.add(THINK, BATCH, 0.0)
    steady = Trace((THINK,), CARD_24, writer.jobs)
    real = run_one(steady, 0.0, Reports(console, "calls of one model"), has_card=True)
    return max(0.0, (real.end_seconds - simulate(_copy(steady), OurRule(), 1).end_seconds) * THINK.slots / STEADY_JOBS)


def with_overhead(trace: Trace, seconds: float) -> Trace:
    """The trace with longer calls."""
    return replace(trace, jobs=[replace(job, work_seconds=job.work_seconds + seconds) for job in trace.jobs])


def _copy(trace: Trace) -> Trace:
    return with_overhead(trace, 0.0)


@dataclass
class Reports:
    """Says how far a run is, every few seconds."""

    console: Console
    name: str
    last_at: float = 0.0

    def progress(self, answered: int, jobs: int, seconds: float) -> None:
        if seconds - self.last_at >= REPORT_SECONDS:
            self.last_at = seconds
            self.say(f"{answered} of {jobs} jobs after {seconds:.0f} s")

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{self.name}: {text}[/dim]", highlight=False)


def run_one(trace: Trace, overhead: float, reports: Reports, *, has_card: bool, scale: float = SCALE) -> Measured:
    """One run on a fleet of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="openfall-bench-")))
        run = RealRun(trace, directory, scale, stack.enter_context(valkey()), find_free_port(), has_card)
        stack.enter_context(run.fleet())
        asyncio.run(run.work(reports))
        return run.measured(overhead)


@dataclass
class RealRun:
    trace: Trace
    directory: Path
    scale: float
    server: Server
    port: int
    has_card: bool
    began_at: float = 0.0
    ended_at: float = 0.0

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

    async def work(self, reports: Reports) -> None:
        """Submit every job at its moment, and wait until the engine has answered them, or does nothing any more
        (without a card jobs expire in it), or the limit is over."""
        longest = simulate(_copy(self.trace), OllamaRule(), 1).end_seconds / self.scale
        limit = LIMIT_FACTOR * longest + LIMIT_SECONDS
        self.began_at = changed_at = time.time()
        submitting, before = asyncio.create_task(self._submit()), 0
        try:
            while (answered := self._answered()) < len(self.trace.jobs):
                now = time.time()
                if submitting.done():
                    submitting.result()
                changed_at = now if answered != before or not submitting.done() else changed_at
                before = answered
                reports.progress(answered, len(self.trace.jobs), now - self.began_at)
                if now - changed_at > STILL_SECONDS or now - self.began_at > limit:
                    reports.say(f"stopped: {len(self.trace.jobs) - answered} jobs were not answered")
                    break
                await asyncio.sleep(0.5)
        finally:
            submitting.cancel()
            self.ended_at = time.time()

    async def _submit(self) -> None:
        async with AsyncOpenfall(config=self.directory / "openfall.yaml") as client:
            tasks = []
            for job in sorted(self.trace.jobs, key=lambda job: job.accepted_at):
                await asyncio.sleep(max(0.0, self.began_at + job.accepted_at / self.scale - time.time()))
                tasks.append(asyncio.create_task(self._submit_one(client, job)))
            await asyncio.gather(*tasks)

    async def _submit_one(self, client: AsyncOpenfall, job: SimJob) -> None:
        text = f"takes {job.work_seconds / self.scale:.4f} {job.number}"
        await client.submit(text, model=job.model, urgency=URGENCIES[job.urgency])

    def _answered(self) -> int:
        return len({row["job"] for row in self._rows() if row["event"] == "answered"})

    def measured(self, overhead: float) -> Measured:
        """What the engine wrote down, in seconds of the trace. A job that was not answered has waited to the end."""
        jobs = {job.number: job for job in self.trace.jobs}
        calls, called = 0, set[int]()
        for row in self._rows():
            if row["event"] in ("call", "answered"):
                job = jobs[int(str(row["job"]).split()[2])]
                at = (row["at"] - self.began_at) * self.scale
                if row["event"] == "call":
                    calls, called = calls + 1, called | {job.number}
                    job.started_at = max(at, job.accepted_at)
                else:
                    job.ended_at = at
        loads = sum(row["event"] == "load" for row in self._rows())
        end = (self.ended_at - self.began_at) * self.scale
        bounded = with_overhead(self.trace, overhead)
        measured = measure(bounded, bounded.jobs, loads=loads, firsts=(), now=end)
        return replace(measured, put_back=calls - len(called))

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
