"""A backend is broken on purpose: its breaker opens, the next model answers, probes find it well, it closes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from examples.fleet import Fleet
from openfall import AsyncOpenfall
from openfall.router_core.deciding.breaker import BreakerState
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.breakers import BreakerStatus, list_breakers

VICTIM, TARGET = "engine-two", "two/smol-b"
QUESTION = "Describe the lanterns over the river, in one sentence."
LOOK_EVERY = 0.1
HEALS_WITHIN = 60.0
"""Seconds for the engine to be started again, and for its probes, on a busy machine."""


@dataclass(slots=True)
class Breaking:
    """How it went. Seconds since the engine was killed; None: it has not come to that."""

    pid: int
    opened: float | None = None
    why: str = ""
    asked: Result | None = None
    """A job that names the broken model first, put in while its breaker was open."""
    closed: float | None = None


async def break_one(client: AsyncOpenfall, fleet: Fleet, say: Callable[[str], None]) -> Breaking:
    """Kill an engine with its calls, and watch its breaker until it has closed again."""
    breaking = Breaking(fleet.pids[VICTIM])
    os.kill(breaking.pid, signal.SIGKILL)
    began = time.monotonic()
    say(f"[bold red]kill -9 {VICTIM}[/] (pid {breaking.pid}), in the middle of its calls")
    try:
        async with asyncio.timeout(HEALS_WITHIN):
            await _watch(client, breaking, began, say)
    except TimeoutError:
        say(f"[red]breaker of {TARGET} did not open and close again within {HEALS_WITHIN:.0f} s[/]")
    return breaking


async def _watch(client: AsyncOpenfall, breaking: Breaking, began: float, say: Callable[[str], None]) -> None:
    opened = await _until(client, lambda breaker: breaker.state is not BreakerState.CLOSED)
    breaking.opened, breaking.why = time.monotonic() - began, opened.why
    say(f"breaker of {TARGET} [bold red]open[/] after {breaking.opened:.1f} s: {opened.why}")
    breaking.asked = await client.ask(QUESTION, role="scene", urgency="interactive")
    _tell(breaking.asked, say)
    await _until(client, lambda breaker: breaker.state is BreakerState.CLOSED)
    breaking.closed = time.monotonic() - began
    say(f"breaker of {TARGET} [bold green]closed[/] {breaking.closed:.1f} s after the kill: its probes were answered")


async def _until(client: AsyncOpenfall, true: Callable[[BreakerStatus], bool]) -> BreakerStatus:
    while True:
        found = next((one for one in await list_breakers(client.link) if one.target == TARGET), None)
        if found is not None and true(found):
            return found
        await asyncio.sleep(LOOK_EVERY)


def _tell(asked: Result, say: Callable[[str], None]) -> None:
    if asked.answered:
        say(f"asked meanwhile: [bold green]{asked.model} answers[/] in {asked.took:.1f} s ({asked.selection_reason})")
    else:
        say(f"asked meanwhile: [red]{asked.status}: {asked.detail}[/]")
