"""Many real processes at one breaker: one of them probes, and when it dies another one does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.state.breakers import (
    BreakerOverride,
    ProbeResult,
    force_breaker,
    list_breakers,
    report_probe,
    reset_breaker,
)
from openfall.router_core.state.claims import Probe
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_subscription import PROBE_GRACE_SECONDS
from openfall.router_core.vocabulary import BreakerState, CallSignal

pytestmark = pytest.mark.slow

PROCESSES = 64
PROBE = 0.5  # s: its lease is this and the grace
LEASE = PROBE + PROBE_GRACE_SECONDS
ROOT = Path(__file__).parents[3]
POLICY = BreakerPolicy()

CLAIMERS = """
import asyncio, json, os, sys
from pathlib import Path
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.state.redis_connection import RedisConnection

url, count, probe, clock, parent = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]), os.getpid()

async def claim_until_left_alone():
    who = WorkerIdentity(f"worker-{os.getpid()}", "gpu", (), ())
    async with RedisConnection(url, clock=lambda: float(clock.read_text())) as link:
        worker = WorkerQueue(link, who, [QueueSubscription("gpu.smol.background", (BackendCapacity("box", 4),), probe)])
        await link.command("SADD", "tests:claiming", os.getpid())
        while os.getppid() == parent:
            claim = await worker.claim(1, 0)
            await link.command("INCR", "tests:claims")
            for probe_ in claim.probes:
                place = [probe_.target, probe_.backend, probe_.model, probe_.credential, probe_.token]
                row = [os.getpid(), claim.now, *place]
                await link.command("RPUSH", "tests:probes", json.dumps(row))
            await asyncio.sleep(0.03)

for _ in range(count):
    if not os.fork():
        asyncio.run(claim_until_left_alone())
        os._exit(0)
sys.stdin.read()
"""


def wait_for(so: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not so():
        assert time.monotonic() < until, f"not within a minute: {what}"
        time.sleep(0.02)


class Clock:
    """The time of every process, in a file."""

    def __init__(self, file: Path) -> None:
        self.file, self.now = file, 0.0
        self.set(1_800_000_000.0)

    def __call__(self) -> float:
        return self.now

    def set(self, now: float) -> None:
        self.now = now
        new = self.file.with_suffix(".new")
        new.write_text(str(now))
        new.replace(self.file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def claimers(redis_url, store, clock: Clock) -> Iterator[None]:
    """So many processes that claim until the test is over, all from one that has imported everything."""
    argv = [sys.executable, "-c", CLAIMERS, redis_url, str(PROCESSES), str(PROBE), str(clock.file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=ROOT) as parent:
        try:
            wait_for(lambda: store.scard("tests:claiming") == PROCESSES, "every process claims")
            yield
        finally:
            for pid in map(int, store.smembers("tests:claiming")):
                os.kill(pid, signal.SIGKILL)
            parent.kill()


def test_one_of_64_processes_probes_and_another_one_when_it_is_killed(claimers, redis_url, store, clock):
    def probes():
        return [json.loads(row) for row in store.lrange("tests:probes", 0, -1)]

    def everybody_claims_again():
        """Each has claimed twice more at the least, if they take turns, and many times if they do not."""
        since = int(store.get("tests:claims"))
        wait_for(lambda: int(store.get("tests:claims")) > since + 3 * PROCESSES, "they go on claiming")

    async def story():
        async with RedisConnection(redis_url, clock=clock) as link:
            await force_breaker(link, "box/smol", BreakerOverride(BreakerState.OPEN, "a test"), POLICY)
            everybody_claims_again()
            assert probes() == []
            await reset_breaker(link, "box/smol", POLICY)  # its probe is due: all of them are at it
            everybody_claims_again()
            ((pid, began, *_),) = probes()

            os.kill(pid, signal.SIGKILL)
            clock.set(began + LEASE - 0.001)
            everybody_claims_again()
            assert len(probes()) == 1, "not before the lease of the dead one has ended"
            clock.set(began + LEASE + 0.001)
            everybody_claims_again()
            _, (heir, *_) = probes()
            assert heir != pid

            for answered in range(POLICY.probe_successes):
                wait_for(lambda n=answered: len(probes()) == 2 + n, "the next probe")
                state = await report_probe(
                    link, Probe(*probes()[-1][2:]), ProbeResult(CallSignal.OK, "", 0, 0.5), POLICY
                )
            assert state == BreakerState.CLOSED
            everybody_claims_again()
            assert len(probes()) == 1 + POLICY.probe_successes, "no worker probes a closed breaker"
            (status,) = await list_breakers(link)
            assert status.epoch == 3, "opened, half open once, closed"

    asyncio.run(story())
