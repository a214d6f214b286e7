"""The current outage in words: which models take no calls, since when, and when they are probed next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from openfall.producers.duration_text import format_age
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.jobs.outcome import cause_in_brackets
from openfall.router_core.state.backend_reports import HEALTH_TTL_SECONDS, remembered_health
from openfall.router_core.state.breakers import BreakerStatus, list_breakers
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.vocabulary import BreakerState, ErrorClass

MAX_NAMES = 3
"""Targets that a sentence names; the rest are counted."""


class Wait(StrEnum):
    """What a target that takes no calls waits for."""

    PROBE = "probe"
    COOLDOWN = "cooldown"
    CHECK = "check"  # it failed a health check
    OPERATOR = "operator"  # an operator keeps its breaker open


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """What takes no calls: a model at a backend, or (`model` None) the key of some backends, or of none in this
    configuration. Moments in epoch seconds.

    `cause` is in a few words; `error` is its class, None where no call failed. `until`: what `wait` says happens then;
    None: unknown.
    `flat_plan`: its backends are subscriptions.
    """

    model: str | None
    backends: tuple[str, ...]
    since: float | None
    cause: str
    until: float | None
    wait: Wait
    flat_plan: bool
    error: ErrorClass | None = None

    @property
    def name(self) -> str:
        names = ", ".join(self.backends)
        if self.is_unknown_key:
            return "a key that this configuration does not have"
        return f"the key of {names}" if self.model is None else f"{self.model}@{names}"

    @property
    def is_unknown_key(self) -> bool:
        return self.model is None and not self.backends

    def concerns(self, alias: str, catalog: Catalog) -> bool:
        """Whether it keeps calls from a model."""
        return self.model in (None, alias) and not set(self.backends).isdisjoint(catalog.models[alias].backends)


async def fetch_away(link: RedisConnection, catalog: Catalog) -> list[Away]:
    """Everything that takes no calls now, see `list_all_away`."""
    rows, checks, now = await asyncio.gather(list_breakers(link), remembered_health(link), fetch_server_time(link))
    return list_all_away(rows, checks, catalog, now)


def list_all_away(rows: Sequence[BreakerStatus], checks: Mapping[str, Any], catalog: Catalog, now: float) -> list[Away]:
    """Everything that takes no calls: an open breaker, a parked key, a cooldown, a failed health check. A target stands
    there once."""
    away = [*list_away(rows, catalog), *list_unknown_keys(rows, catalog, now)]
    named = {(item.model, item.backends) for item in away}
    unhealthy = list_unhealthy(checks, catalog, now)
    return away + [item for item in unhealthy if (item.model, item.backends) not in named]


def list_away(rows: Iterable[BreakerStatus], catalog: Catalog) -> Iterator[Away]:
    """The targets of the catalog that take no calls. A key counts only when its backend has no other to call with."""
    blocked = {row.target: row for row in rows if row.state is not BreakerState.CLOSED or row.cooling_until is not None}
    for row in blocked.values():
        is_open = row.state is not BreakerState.CLOSED
        model, backends = _place(row.target, catalog)
        backends = tuple(name for name in backends if not _has_other_key(row.target, name, blocked, catalog))
        if not backends:
            continue
        yield Away(
            model=model,
            backends=backends,
            since=row.away_since if is_open else None,
            cause=row.cause or row.why if is_open else "rate limited",
            error=row.error if is_open else None,
            until=_until(row),
            wait=Wait.OPERATOR if row.forced == BreakerState.OPEN else Wait.PROBE if is_open else Wait.COOLDOWN,
            flat_plan=all(catalog.billing(backend) is Billing.FLAT for backend in backends),
        )


def list_unknown_keys(rows: Iterable[BreakerStatus], catalog: Catalog, now: float) -> Iterator[Away]:
    """The refused keys that only other workers and gateways have. A key without a probe was replaced everywhere."""
    known = {key for backend in catalog.backends for key in catalog.credentials(backend)}
    for row in rows:
        is_probed = row.state is BreakerState.HALF_OPEN or (row.until is not None and row.until > now)
        if row.target.startswith("key:") and _key_of(row.target) not in known and is_probed:
            yield Away(
                model=None, backends=(), since=row.away_since, cause=row.cause or row.why, error=row.error,
                until=row.until, wait=Wait.PROBE, flat_plan=False,
            )  # fmt: skip


def _until(row: BreakerStatus) -> float | None:
    """When a target that takes no calls is probed or called next."""
    if row.forced == BreakerState.OPEN:
        return row.forced_until
    return row.until if row.state is not BreakerState.CLOSED else row.cooling_until


def _has_other_key(target: str, backend: str, blocked: Iterable[str], catalog: Catalog) -> bool:
    """Whether a backend can be called with another key than that of the target. Of several blocked keys the first in
    the file stands for all."""
    keys, own = list(catalog.credentials(backend)), _key_of(target)
    return len(keys) > 1 and own in keys and (own != keys[0] or not set(map(_key_of, blocked)).issuperset(keys))


def _key_of(target: str) -> str:
    """The name of the key in a target; of a target without a key the target itself."""
    return target.removeprefix("key:").rpartition("#")[2]


def list_unhealthy(checks: Mapping[str, Any], catalog: Catalog, now: float) -> Iterator[Away]:
    """The targets of the catalog whose last health check failed a short time ago."""
    for target, check in checks.items():
        model, backends = _place(target, catalog)
        until = check["at"] + HEALTH_TTL_SECONDS
        if backends and not check["ok"] and until > now:
            yield Away(
                model=model,
                backends=backends,
                since=None,
                cause=f"its {'last load' if check.get('how') == 'load' else 'health check'} failed: {check['detail']}",
                until=until,
                wait=Wait.CHECK,
                flat_plan=False,
            )


def _place(target: str, catalog: Catalog) -> tuple[str | None, tuple[str, ...]]:
    """The model and the backends of a target. No backends: the catalog does not name it."""
    if target.startswith("key:"):
        credential = target.removeprefix("key:")
        return None, tuple(name for name in catalog.backends if credential in catalog.credentials(name))
    backend, _, model = target.partition("#")[0].partition("/")
    known = model in catalog.models and backend in catalog.models[model].backends
    return model, (backend,) if known else ()


def models_away(away: Sequence[Away], catalog: Catalog) -> frozenset[str]:
    """The models that take no calls at any of their backends."""
    return frozenset(
        alias
        for alias, spec in catalog.models.items()
        if set(spec.backends) <= {name for item in away if item.concerns(alias, catalog) for name in item.backends}
    )


def describe_away(away: Sequence[Away], now: float) -> str:
    """`no calls to llama-8b@tower for 3m (connection; next probe in at least 40s)`: a part of a sentence.

    Empty: all is well. Outages come before cooldowns; those of a flat plan are a part of their own.
    """
    flat = [item for item in away if item.flat_plan]
    others = sorted((item for item in away if not item.flat_plan), key=lambda item: item.wait is Wait.COOLDOWN)
    parts = []
    if others:
        parts.append(f"no calls to {_join(others, now)}")
    if flat:
        parts.append(f"flat plan out: {_join(flat, now)}, so its jobs go to other models, which may be metered")
    return "; ".join(parts)


def _join(items: Sequence[Away], now: float) -> str:
    texts = [_describe(item, now) for item in items[:MAX_NAMES]]
    more = len(items) - MAX_NAMES
    return ", ".join(texts) + (f" and {more} more (openfall breakers)" if more > 0 else "")


def _describe(item: Away, now: float) -> str:
    since = f" for {format_age(now - item.since)}" if item.since is not None else ""
    return f"{item.name}{since} ({cause_in_brackets(item.cause)}; {_next(item, now)})"


def _next(item: Away, now: float) -> str:
    if item.wait is Wait.OPERATOR:
        end = "until it is reset" if item.until is None else f"for {format_age(item.until - now)} more"
        return f"kept open by an operator {end}"
    if item.until is None:
        return "no probe is planned"
    if item.until <= now:
        return "its probe is due"
    rest = format_age(item.until - now)
    texts = {
        Wait.PROBE: f"next probe in at least {rest}",
        Wait.COOLDOWN: f"for {rest} more",
        Wait.CHECK: f"not called for {rest} more",
    }
    return texts[item.wait]
