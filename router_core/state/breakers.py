"""The breakers of the fleet: their state, their history, manual overrides, results of probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.deciding.subscription_limits import PlanReport
from openfall.router_core.state import keys
from openfall.router_core.state.call_money import encode_plan
from openfall.router_core.state.claims import Probe
from openfall.router_core.state.decoding import read_moment, read_number, read_objects, read_text
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.settlement import CallReport, encode_call, policy_arguments
from openfall.router_core.unknown_words import carry_word
from openfall.router_core.vocabulary import BreakerState, CallSignal, ErrorClass

NEVER = 9007199254740.0
"""Epoch seconds: an override without an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatus:
    """One breaker. `target` is `backend/model`, or `key:...` for a key. Moments in epoch seconds, server clock.

    `until`: when an open breaker is probed next; None while it is closed, or when it has no end. `forced`: an operator
    set it to `open` or `closed`, until `forced_until` (None: until further notice). `cooling_until`: every caller waits
    after a 429. `error`, `http_status` and `cause` (see `describe_cause`) are of the failure that opened it, or of the
    last failure that it counted. `slow_starting`: it has closed a short time ago, and its slots come back step by step.
    `away_since`: when it left the closed state; None: it is closed."""

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
    slow_starting: bool
    error: ErrorClass | None = None
    http_status: int | None = None
    cause: str = ""
    away_since: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """One change of one breaker. `at` in epoch seconds."""

    at: float
    target: str
    before: BreakerState
    after: BreakerState
    why: str


async def list_breakers(link: RedisConnection) -> list[BreakerStatus]:
    """Every breaker that ever changed or counted a failure, and every target that cools down; by name."""
    blocks, rows = await link.script("breaker_rows", {})
    with link.notes.reading(keys.BLOCKED):
        blocked = {name: read_text(value) for name, value in pairs(blocks).items()}
    breakers = []
    for target, row in rows:
        name = read_text(target)
        with link.notes.reading(keys.BREAKER + name):
            breakers.append(_breaker(name, pairs(row), blocked))
    return sorted(breakers, key=lambda breaker: breaker.target)


def _breaker(target: str, row: Mapping[str, bytes], blocked: Mapping[str, str]) -> BreakerStatus:
    fields = {name: read_text(value) for name, value in row.items()}
    forced, _, forced_until = fields.get("forced", "").partition(" ")
    state = read_breaker_state(row.get("state"))
    return BreakerStatus(
        target=target,
        state=state,
        epoch=read_number(row.get("epoch")),
        since=read_moment(row.get("since")),
        why=fields.get("why", ""),
        open_count=read_number(row.get("open_count")),
        consecutive_failures=read_number(row.get("consecutive_failures")),
        until=_end(fields.get("until", "0")) if state is BreakerState.OPEN else None,
        forced=forced or None,
        forced_until=_end(forced_until or "0"),
        cooling_until=read_moment(blocked.get(f"{target} cool", "").encode()) or None,
        slow_starting=blocked.get(target, "").startswith("slow_start"),
        error=read_error_class(fields.get("error", "")),
        http_status=read_number(row.get("http_status")) or None,
        cause=fields.get("cause", ""),
        away_since=_end(fields.get("away_since", "0")),
    )


def read_error_class(name: str) -> ErrorClass | None:
    """None: no class, or one of a newer openfall."""
    return ErrorClass(name) if name in set(ErrorClass) else None


def _end(value: str) -> float | None:
    moment = read_number(value.encode()) / 1000
    return moment if 0 < moment < NEVER else None


async def breaker_history(link: RedisConnection, limit: int = 50) -> list[BreakerChange]:
    """The last changes of any breaker, newest first."""
    rows = await link.command("LRANGE", keys.BREAKER_HISTORY, 0, limit - 1)
    with link.notes.reading(keys.BREAKER_HISTORY):
        return list(read_objects(rows, _change))


def _change(row: Mapping[str, Any]) -> BreakerChange:
    before, after = carry_word(BreakerState, str(row["from"])), carry_word(BreakerState, str(row["to"]))
    return BreakerChange(read_moment(row["at"]), str(row["target"]), before, after, str(row["why"]))


def read_breaker_state(value: bytes | None) -> BreakerState:
    """The state of a breaker. One that cannot be read counts as closed, as in the scripts."""
    text = read_text(value)
    return BreakerState(text) if text in set(BreakerState) else BreakerState.CLOSED


@dataclass(frozen=True, slots=True)
class BreakerOverride:
    """A manual override of a breaker: the state, why, and for how many seconds (None: until further notice)."""

    state: Literal[BreakerState.OPEN, BreakerState.CLOSED]
    why: str
    seconds: float | None = None


async def force_breaker(
    link: RedisConnection, target: str, override: BreakerOverride, policy: BreakerPolicy
) -> BreakerState:
    """Override a breaker.

    Forced open, the target is neither called nor probed; when the override ends, it is probed. Forced closed, it is
    called, and failures do not open it."""
    duration_ms = None if override.seconds is None else max(1, int(override.seconds * 1000))
    arguments = {"target": target, "state": override.state, "why": override.why, "duration_ms": duration_ms}
    reply = await link.script("breaker_force", arguments, policy_arguments(policy))
    return read_breaker_state(reply[0])


async def reset_breaker(link: RedisConnection, target: str, policy: BreakerPolicy) -> BreakerState:
    """Clear a manual override. An open breaker is probed at once."""
    reply = await link.script("breaker_force", {"target": target, "state": "auto"}, policy_arguments(policy))
    return read_breaker_state(reply[0])


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe. `cooldown_seconds`: what a 429 asked for. `jitter` in [0, 1] spreads the next open time.
    `error`, `http_status` and `cause` (see `describe_cause`) are of its failure. `on_trial`: it did not call the model,
    so the first call shows whether it works, and opens the breaker again if it fails. `plan`: it was refused for the
    plan of a subscription."""

    signal: CallSignal
    detail: str
    cooldown_seconds: float
    jitter: float
    error: ErrorClass | None = None
    http_status: int | None = None
    cause: str = ""
    on_trial: bool = False
    plan: PlanReport | None = None


async def report_probe(
    link: RedisConnection, probe: Probe, result: ProbeResult, policy: BreakerPolicy, call: CallReport | None = None
) -> BreakerState:
    """Report a probe; without effect once another was handed out. Returns the breaker's state.

    `call`: the probe was paid for, so the ledger counts it."""
    arguments: dict[str, Any] = {"target": probe.target, "token": probe.token, **asdict(result)}
    if result.plan is not None:
        arguments["plan"] = encode_plan(result.plan)
    if call is not None:
        arguments["call"] = encode_call(call, is_probe=True)
    reply = await link.script("breaker_probe_result", arguments, policy_arguments(policy))
    return read_breaker_state(reply[0])
