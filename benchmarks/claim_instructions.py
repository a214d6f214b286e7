"""The instructions of a claim of one job, counted by callgrind: the same on a busy machine as on a quiet one.

What is counted is all that Valkey executes from reading a command to writing its reply. What the kernel does for it is
not counted, and no collection of Lua's garbage.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from redis import Redis
from rich.console import Console

from benchmarks.claim_side import Side
from benchmarks.claim_variants import BASE, QUEUES, VARIANTS, YARDSTICK, Variant
from benchmarks.paired import ThreadClock
from benchmarks.processes import BenchmarkError
from benchmarks.server import Server, valkey
from benchmarks.table import Figure, Row, Sheet
from benchmarks.yardstick import REFERENCE_SPEED
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_queue import CREDIT_INTERVAL_JOBS

PROGRAMS = ("valgrind", "vgdb")
TOGGLES = ("readQueryFromClient", "writeToClient", "lua_gc")
"""Functions of Valkey. The count begins with the first two and ends with them. The third, which they call, stands still
meanwhile."""
COLLECT = """#!lua name=benchmark_collect
redis.register_function('benchmark_collect', function()
  collectgarbage()
  collectgarbage('stop')
end)"""
"""A function that has Lua collect its garbage now, and not in the next claims: some would pay for many."""
WARM, ROUNDS = 3, 12
"""Rounds before the count begins, and counted ones. A round has the claims between two updates of credits."""
COUNTED_ROWS = (BASE, *(row for row in VARIANTS if row is YARDSTICK or row.most_us is not None))
COLUMNS = {
    "instructions": "instructions of a claim",
    "more": "more than the base",
    "scaled": "µs more on the reference machine",
}


@dataclass(frozen=True)
class Counter:
    """The count of a server that runs under callgrind, whose files are in a folder."""

    server: Server
    folder: Path

    def take(self) -> int:
        """The instructions since it was taken last."""
        known = set(self.folder.glob("count*"))
        dump = ["vgdb", f"--pid={self.server.process.popen.pid}", f"--vgdb-prefix={self.folder}/vgdb", "dump"]
        subprocess.run(dump, check=True, capture_output=True, timeout=60)
        (new,) = set(self.folder.glob("count*")) - known
        return sum(int(line.split()[1]) for line in new.read_text().splitlines() if line.startswith("totals:"))


@contextmanager
def counted_server() -> Iterator[Counter]:
    """A server of its own under callgrind."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise BenchmarkError(f"{missing[0]} is not installed: instructions are counted by valgrind. Install valgrind")
    with tempfile.TemporaryDirectory(prefix="openfall-count-") as name:
        folder = Path(name)
        options = [f"--callgrind-out-file={folder}/count", f"--vgdb-prefix={folder}/vgdb"]
        options += [f"--toggle-collect={function}" for function in TOGGLES]
        with valkey(["valgrind", "--tool=callgrind", *options]) as server:
            yield Counter(server, folder)


async def _count(counter: Counter, console: Console) -> list[Sheet]:
    moments = itertools.count(time.time(), 0.001)  # a slow server must not make a script do what it does once a second

    def clock() -> float:
        return next(moments)

    async with RedisConnection(counter.server.url, clock=clock) as link:
        side = Side(link, Redis.from_url(counter.server.url), ThreadClock(counter.server.process.popen.pid))
        await side.load_changed()
        await link.command("FUNCTION", "LOAD", COLLECT)
        sheets = []
        for queues in QUEUES:
            counts = {}
            for row in COUNTED_ROWS:
                console.print(f"[dim]{queues} queues: {row.name}[/dim]", highlight=False)
                counts[row.name] = await _count_claims(side, counter, row, queues)
            rows = [_row(name, number, number - counts[BASE.name]) for name, number in counts.items()]
            sheets.append(Sheet(f"Instructions of a claim of one job, {queues} queues", COLUMNS, rows))
        return sheets


async def _count_claims(side: Side, counter: Counter, variant: Variant, queues: int) -> float:
    """The mean of the claims of a variant."""
    worker = await side.begin(variant, queues, (WARM + ROUNDS) * CREDIT_INTERVAL_JOBS)
    counts = []
    for _ in range(WARM + ROUNDS):
        await side.link.command("FCALL", "benchmark_collect", 0)
        counter.take()
        for _ in range(CREDIT_INTERVAL_JOBS):
            if not (await worker.claim(1, 0)).deliveries:
                raise BenchmarkError("a claim returned no job")
        counts.append(counter.take() / CREDIT_INTERVAL_JOBS)
    return fmean(counts[WARM:])


def _row(name: str, instructions: float, more: float) -> Row:
    figures = {"instructions": instructions, "more": more, "scaled": more / REFERENCE_SPEED}
    return Row(name, {key: Figure(value, value, value, 1) for key, value in figures.items()})


def count(console: Console) -> list[Sheet]:
    """The instructions of the base, of the yardstick, and of each variant with a promise, for each number of queues."""
    with counted_server() as counter:
        return asyncio.run(_count(counter, console))
