"""The breakers of the whole fleet: what state each is in, an operator's word on them, and what probes come to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic_core import from_json

from openfall.router_core.catalog.policies import (
    BreakerPolicy,
)
from openfall.router_core.state import keys
from openfall.router_core.state.claims import Probe
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.settlement import policy_arguments
from openfall.router_core.vocabulary import (
    BreakerState,
    CallSignal,
)

NEVER = 9007199254740.0
"""Epoch seconds: an end that an operator has not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatus:
    """One breaker. `target` is `backend/model`, or `key:...` for a key. Moments in epoch seconds, server clock.

    `until`: when an open one is probed next; None while it is closed, or with no end set. `forced` is `open` or
    `closed` when an operator said so, until `forced_until` (None: until further notice). `cooling_until`: a 429 asked
    everybody to wait. `ramping`: it has closed a moment ago, and slots come back one after the other.
    """

    target: str
    state: BreakerState
    epoch: int
    since: float
    why: str
    open_count: int
    consecutive_failures: int
    until: float | None
    forced: str | None
    forced_until: float | None
    cooling_until: float | None
    ramping: bool


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """One change of one breaker. Epoch seconds."""

    at: float
    target: str
    before: BreakerState
    after: BreakerState
    why: str


async def list_breakers(link: RedisConnection) -> list[BreakerStatus]:
    """Every breaker that ever had trouble, and everything that cools down; by name."""
    told, blocks = await asyncio.gather(link.command("SMEMBERS", keys.BREAKERS), link.command("HGETALL", keys.BLOCKED))
    blocked = {name: value.decode() for name, value in pairs(blocks).items()}
    cooling = {name.removesuffix(" cool") for name in blocked if name.endswith(" cool")}
    targets = sorted({name.decode() for name in told} | cooling)
    rows = await asyncio.gather(*(link.command("HGETALL", keys.BREAKER + target) for target in targets))
    return [_breaker(target, pairs(row), blocked) for target, row in zip(targets, rows, strict=True)]


def _breaker(target: str, row: Mapping[str, bytes], blocked: Mapping[str, str]) -> BreakerStatus:
    told = {name: value.decode() for name, value in row.items()}
    forced, _, forced_until = told.get("forced", "").partition(" ")
    state = BreakerState(told.get("state", "closed"))
    cool = blocked.get(f"{target} cool")
    return BreakerStatus(
        target=target,
        state=state,
        epoch=int(told.get("epoch", 0)),
        since=int(told.get("since", 0)) / 1000,
        why=told.get("why", ""),
        open_count=int(told.get("open_count", 0)),
        consecutive_failures=int(told.get("consecutive_failures", 0)),
        until=_end(told.get("until", "0")) if state is BreakerState.OPEN else None,
        forced=forced or None,
        forced_until=_end(forced_until or "0"),
        cooling_until=int(cool) / 1000 if cool else None,
        ramping=blocked.get(target, "").startswith("ramp"),
    )


def _end(told: str) -> float | None:
    moment = int(told) / 1000
    return moment if 0 < moment < NEVER else None


async def breaker_history(link: RedisConnection, most: int = 50) -> list[BreakerChange]:
    """The last changes of any breaker, newest first."""
    rows = await link.command("LRANGE", keys.BREAKER_HISTORY, 0, most - 1)
    told = map(from_json, rows)
    return [
        BreakerChange(row["at"] / 1000, row["target"], BreakerState(row["from"]), BreakerState(row["to"]), row["why"])
        for row in told
    ]


@dataclass(frozen=True, slots=True)
class BreakerOverride:
    """What an operator wants of a breaker: `open` or `closed`, why, and for how many seconds (None: for good)."""

    state: Literal[BreakerState.OPEN, BreakerState.CLOSED]
    why: str
    seconds: float | None = None


async def force_breaker(
    link: RedisConnection, target: str, word: BreakerOverride, policy: BreakerPolicy
) -> BreakerState:
    """Open or close a breaker by an operator's word.

    Forced open, nobody calls and nobody probes; when its time is over a probe finds out. Forced closed, everybody
    calls, and what comes of it does not open it.
    """
    duration_ms = None if word.seconds is None else max(1, int(word.seconds * 1000))
    arguments = {"target": target, "state": word.state, "why": word.why, "duration_ms": duration_ms}
    reply = await link.script("breaker_force", arguments, policy_arguments(policy))
    return BreakerState(reply[0].decode())


async def reset_breaker(link: RedisConnection, target: str, policy: BreakerPolicy) -> BreakerState:
    """Take an operator's word back. An open breaker is probed at once."""
    reply = await link.script("breaker_force", {"target": target, "state": "auto"}, policy_arguments(policy))
    return BreakerState(reply[0].decode())


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe came to. `wait`: seconds that a 429 asked for; `chance` in [0, 1] spreads the next open time."""

    signal: CallSignal
    detail: str
    cooldown_seconds: float
    jitter: float


async def report_probe(link: RedisConnection, probe: Probe, probed: ProbeResult, policy: BreakerPolicy) -> BreakerState:
    """Tell what a probe came to; without effect once another was handed out. Returns the breaker's state."""
    arguments = {
        "target": probe.target,
        "token": probe.token,
        "signal": probed.signal,
        "detail": probed.detail,
        "cooldown_ms": round(probed.cooldown_seconds * 1000),
        "jitter": probed.jitter,
    }
    reply = await link.script("breaker_probe_result", arguments, policy_arguments(policy))
    return BreakerState(reply[0].decode())
