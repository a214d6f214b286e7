"""Act 1: an engine fails. Its breaker opens, another model answers, probes succeed, the breaker closes.

The act does not depend on the speed of the machine. Both engines are frozen until engine two has a call in flight.
Then engine two is killed, and its supervisor stays paused until another model has answered: the engine cannot come back
before its breaker has opened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from examples.demo_fleet import ENGINES, Fleet, poll
from openfall import AsyncOpenfall
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.breakers import BreakerStatus, list_breakers
from openfall.router_core.vocabulary import BreakerState

VICTIM, BACKEND, TARGET = "engine-two", "two", "two/smol-b"
QUESTION = "Describe the lanterns over the river, in one sentence."
OPEN_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 180.0
"""The engine starts and its probes succeed in this time on a busy machine. They take about 4 s."""


@dataclass(slots=True)
class EngineFailure:
    """What happened. Times are seconds since the engine was killed; None: not reached."""

    pid: int
    killed_at: float = 0.0
    opened: float | None = None
    answer: Result | None = None
    """The answer to a question that prefers the failed model, asked while the engine was away."""
    closed: float | None = None


async def fail_engine(client: AsyncOpenfall, fleet: Fleet, show_line: Callable[[str], None]) -> EngineFailure:
    """Kill an engine during its calls, and keep it away until another model has answered."""
    failure = EngineFailure(fleet.pids[VICTIM])
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await _kill_and_ask(client, fleet, failure, show_line)
    except TimeoutError:
        show_line(f"[red]the breaker of {TARGET} did not open within {OPEN_TIMEOUT_S:.0f} s[/]")
    return failure


async def await_recovery(client: AsyncOpenfall, failure: EngineFailure, show_line: Callable[[str], None]) -> None:
    """Wait until the breaker of the failed engine has closed."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await _wait_for_breaker(client, lambda breaker: breaker.state is BreakerState.CLOSED)
    except TimeoutError:
        show_line(f"[red]the breaker of {TARGET} did not close within {CLOSE_TIMEOUT_S:.0f} s[/]")
        return
    failure.closed = time.monotonic() - failure.killed_at
    show_line(f"breaker of {TARGET} [bold green]closed[/] {failure.closed:.1f} s after the kill: its probes succeeded")


async def _kill_and_ask(
    client: AsyncOpenfall, fleet: Fleet, failure: EngineFailure, show_line: Callable[[str], None]
) -> None:
    async with fleet.unattended():
        async with fleet.frozen(*ENGINES):
            calls = await poll(lambda: client.store.connection.command("ZCARD", f"of:leases:{BACKEND}"))
            fleet.kill(VICTIM)
            failure.killed_at = time.monotonic()
            show_line(
                f"[bold red]kill -9 {VICTIM}[/] (pid {failure.pid}) with {calls} call{'s' * (calls > 1)} in flight; "
                "its supervisor is paused"
            )
            opened = await _wait_for_breaker(client, lambda breaker: breaker.state is not BreakerState.CLOSED)
            failure.opened = time.monotonic() - failure.killed_at
            show_line(f"breaker of {TARGET} [bold red]open[/] after {failure.opened:.1f} s: {opened.why}")
        failure.answer = await client.ask(QUESTION, role="scene", urgency="interactive")
        _report_answer(failure.answer, show_line)
    show_line(f"the supervisor continues and starts {VICTIM} again")


async def _wait_for_breaker(client: AsyncOpenfall, condition: Callable[[BreakerStatus], bool]) -> BreakerStatus:
    async def find() -> BreakerStatus | None:
        breakers = [breaker for breaker in await list_breakers(client.store.connection) if breaker.target == TARGET]
        return next(filter(condition, breakers), None)

    return await poll(find)


def _report_answer(answer: Result, show_line: Callable[[str], None]) -> None:
    if answer.answered:
        show_line(f"a question meanwhile: [bold green]{answer.model} answers[/] in {answer.took:.1f} s "
            f"({answer.selection_reason})")  # fmt: skip
    else:
        show_line(f"a question meanwhile: [red]{answer.status}: {answer.detail}[/]")
