"""A breaker at one backend: a worker opens it, probes it, and closes it again."""

from __future__ import annotations

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.state.breakers import (
    ProbeResult,
    list_breakers,
    report_probe,
)
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription
from openfall.router_core.vocabulary import BreakerState, CallSignal

OK, SLOW, FAILURE, NEUTRAL, TRIP = CallSignal
OPEN, HALF_OPEN, CLOSED = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED
POLICY = BreakerPolicy()
SMOL = "gpu.smol.background"
AT_BOX = QueueSubscription(SMOL, (BackendCapacity("box", 8),), probe_timeout_seconds=30)
TWO = QueueSubscription(SMOL, (BackendCapacity("box", 8), BackendCapacity("big", 4)))
BOX = "box/smol"


async def breaker(f, target=BOX):
    return {record.target: record for record in await list_breakers(f.link)}[target]


async def opened(f, worker, count=5):
    await f.enqueue(count)
    assert (await f.finish_calls(worker, *[FAILURE] * count))[-1].opened_breaker


async def probed(f, probe, mark=OK, wait=0.0, chance=0.5):
    return await report_probe(f.link, probe, ProbeResult(mark, "503", wait, chance), POLICY)


async def healed(f, worker, target=BOX):
    """Its open time passes, and its probes are answered."""
    f.clock.now = max(f.clock.now, (await breaker(f, target)).until or 0)
    for _ in range(POLICY.probe_successes):
        (probe,) = (await worker.claim(0, 0)).probes
        state = await probed(f, probe)
    assert state == CLOSED
