"""A provider that allows a number of requests and tokens a minute: with its limits in the file it refuses no call.

The provider counts what arrived in the last minute, on the clock that the scripts have: the test moves it, whenever the
worker has nothing to do. The file states a tenth less than the provider allows, as the documentation advises."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.rate_limits import rates_for
from openfall.router_core.state.worker_subscription import BackendCapacity
from openfall.router_core.vocabulary import Urgency
from tests.faults import COMPLETION, answer

REQUESTS, TOKENS, JOBS = 20, 4000, 30
START = 1_800_000_000.0
WAKEUP = "of:wakeup:gpu.small.batch"
USAGE = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
REFUSAL = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}


@dataclass(eq=False)
class Provider:
    """Refuses each call beyond its limits of the last minute. Refused calls count too, as at OpenAI."""

    clock: Any
    requests: int | None = None
    tokens: int | None = None
    arrived: deque = field(default_factory=deque)
    answered: int = 0
    refused: int = 0

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        now = self.clock.now
        while self.arrived and self.arrived[0] <= now - 60:
            self.arrived.popleft()
        self.arrived.append(now)
        too_many = self.requests is not None and len(self.arrived) > self.requests
        too_large = self.tokens is not None and len(self.arrived) * USAGE["total_tokens"] > self.tokens
        if too_many or too_large:
            self.refused += 1
            await answer(REFUSAL, 429, retry_after="60")(writer)
        else:
            self.answered += 1
            await answer({**COMPLETION, "usage": USAGE})(writer)


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


def run(working, provider, stated):
    """Run the jobs until all are answered, or the provider refuses a call."""
    spec = Backend(url="http://box", pool="gpu", slots=8, **stated)
    box = BackendCapacity("box", 8, (), 0, rates_for(spec))
    terms = {"expires_after_seconds": 86400, "keep_seconds": 86400, "prompt_tokens": 450}

    async def story(bench, _task):
        ids = [await bench.accept("small", urgency=Urgency.BATCH, terms=terms) for _ in range(JOBS)]
        async with asyncio.timeout(100):
            while provider.answered < JOBS and not provider.refused:
                await bench.link.command("RPUSH", WAKEUP, 1)  # a worker that waits for a limit need not sleep for real
                while await bench.link.command("EXISTS", WAKEUP) or len(bench.worker.runner):
                    await asyncio.sleep(0.002)
                provider.clock.now += 1
        if not provider.refused:
            assert [(await bench.result(job_id)).status for job_id in ids] == ["answered"] * JOBS

    working(story, provider, slots=8, housekeeping=False, clock=provider.clock, box=box)
    return provider


@pytest.mark.parametrize(
    ("allowed", "stated", "minutes"),
    [
        pytest.param({"requests": REQUESTS}, {"requests_per_minute": 18}, 30 / 18, id="requests"),
        pytest.param({"tokens": TOKENS}, {"tokens_per_minute": 3600}, 30 / 9, id="tokens"),
        pytest.param(
            {"requests": REQUESTS}, {"requests_per_minute": 18, "burst": 0.5}, 30 / 18, id="requests, with a burst"
        ),
    ],
)
def test_with_the_limit_in_the_file_the_provider_refuses_no_call(working, allowed, stated, minutes):
    provider = run(working, Provider(Clock(START), **allowed), stated)
    assert (provider.refused, provider.answered) == (0, JOBS)
    assert provider.clock.now - START <= (minutes + 1) * 60, "nor is much of the limit left unused"


@pytest.mark.parametrize("allowed", [{"requests": REQUESTS}, {"tokens": TOKENS}])
def test_without_the_limit_in_the_file_the_provider_refuses_calls(working, allowed):
    assert run(working, Provider(Clock(START), **allowed), {}).refused
