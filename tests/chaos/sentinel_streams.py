"""Streams of a real gateway while Sentinel fails over. A client of the gateway repeats, or resumes, what breaks."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.server import find_free_port
from tests.chaos.environment import now_ms, write_line
from tests.chaos.gateway_drill import Restarted
from tests.chaos.judge.evidence import read_lines
from tests.chaos.worker_pool import until

KINDS = ("chat_stream", "background_stream", "message_stream", "response_stream")
DELTA_MS = 500.0
"""Wait between the pieces of an answer: a stream lasts longer than a failover takes to begin."""
STREAM_SECONDS = 60.0
"""A stream ends within this time, with its repeats."""
MAX_SECONDS = 150.0
"""The client ends within this time after its last request began."""


@dataclass
class Streams:
    """The gateway and its client, of a fleet whose configuration is given. `seconds`: over which its requests begin."""

    config: Path
    count: int
    seconds: float
    stack: ExitStack
    began: float = 0.0
    client: Restarted = field(init=False)

    @property
    def directory(self) -> Path:
        return self.config.parent

    async def open(self) -> None:
        """Start the gateway and the client."""
        port, file = find_free_port(), self.directory / "gateway.yaml"
        fleet = yaml.safe_load(self.config.read_text())
        file.write_text(yaml.safe_dump({**fleet, "gateway": {"listen": [f"127.0.0.1:{port}"]}}))
        for number in range(self.count):
            row = {"id": f"r{number:06}", "kind": KINDS[number % len(KINDS)]}
            write_line(self.directory / "requests.jsonl", row)
        argv = [sys.executable, "-m", "openfall.producers.gateway", "--config", str(file), "--announce"]
        gateway = self._start("gateway", argv)
        await until(lambda: gateway.ready or None, what="the gateway")
        options = {"directory": self.directory, "number": 0, "of": 1, "seconds": self.seconds}
        argv = [sys.executable, "-m", "tests.chaos.gateway_client", "--gateways", f"http://127.0.0.1:{port}"]
        self.began = now_ms()
        self.client = self._start("client", [*argv, *(f"--{name}={value}" for name, value in options.items())])

    def _start(self, name: str, argv: list[str]) -> Restarted:
        process = Restarted(name, argv, self.directory)
        self.stack.callback(process.stack.close)
        process.start()
        return process

    async def judge(self) -> tuple[dict[str, Any], list[str]]:
        """Wait for the client. Returns figures, and the streams that are not as they must be."""
        deadline = time.monotonic() + self.seconds + MAX_SECONDS
        assert self.client.child is not None
        popen = self.client.child.popen
        await until(lambda: popen.poll() is not None or time.monotonic() > deadline or None, MAX_SECONDS * 2, "streams")
        notes: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for row in read_lines(self.directory / "client-0.jsonl"):
            notes[row["id"]][row["event"]].append(row)
        starts = {f"r{n:06}": self.began + 1000 * self.seconds * n / self.count for n in range(self.count)}
        ended = {name: notes[name]["answered"][0]["at"] for name in starts if "answered" in notes[name]}
        lasted = {name: (at - starts[name]) / 1000 for name, at in ended.items()}
        problems = [f"{name}: no answer; {dict(notes[name])}" for name in starts if name not in ended]
        problems += [f"{name}: {row['why']}" for name in starts for row in notes[name].get("wrong", ())]
        problems += [f"{name}: {seconds:.0f} s" for name, seconds in lasted.items() if seconds > STREAM_SECONDS]
        problems += self._numbers()
        figures = {
            "streams answered": f"{len(ended)} of {self.count}",
            "streams that broke and were repeated": sum("broken" in rows for rows in notes.values()),
            "why": dict(Counter(row["why"][:60] for rows in notes.values() for row in rows.get("broken", ()))),
            "longest stream with its repeats (s)": round(max(lasted.values(), default=0.0), 1),
        }
        return figures, problems

    def _numbers(self) -> Iterator[str]:
        """The background Responses that did not give every event once and in order."""
        live: dict[str, list[int]] = defaultdict(list)
        for row in read_lines(self.directory / "events-0.jsonl"):
            if row["where"] == "live":
                live[row["id"]].append(row["number"])
        for name, numbers in live.items():
            if numbers != list(range(len(numbers))):
                yield f"{name}: the numbers of its events are {numbers}"
