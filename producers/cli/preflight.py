"""`openfall preflight`: is everything there that the configuration names? One line for each check, as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from openfall.config import redact_key
from openfall.producers.cli.options import config_option, json_option, run
from openfall.producers.cli.render import show_json

if TYPE_CHECKING:
    from openfall.config import ConfigError, LoadedConfig
    from openfall.router_core.state.redis_connection import RedisConnection

State = Literal["ok", "warning", "failure"]
FOUND_A_FAILURE = 4
WITHIN = 3.0
"""Seconds for what Redis is asked. What backends are asked has a limit of its own."""

_MARKS: dict[State, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check came to: of the same form as those that the workers' side tells."""

    check: str
    what: str
    state: State
    said: str
    remedy: str = ""


@click.command()
@click.option("--offline", is_flag=True, help="Only the configuration and its keys: ask nobody.")
@config_option
@json_option
def preflight(offline: bool, config_path: Path | None, as_json: bool) -> None:
    """Is everything there that the configuration names, and what to do if not.

    Looks at the configuration, its keys, Redis, workers, breakers, every endpoint and every model. Nothing is loaded
    and nothing is paid for. Exits with 4 when something is wrong.
    """
    found: list[dict[str, Any]] = []

    def tell(finding: dict[str, Any]) -> None:
        found.append(finding)
        show_json(finding) if as_json else _show(finding)

    run(_look(config_path, offline, tell))
    failures = sum(finding["state"] == "failure" for finding in found)
    if not as_json:
        click.echo(_summary(found))
    raise click.exceptions.Exit(FOUND_A_FAILURE if failures else 0)


def _show(finding: dict[str, Any]) -> None:
    mark, colour = _MARKS[finding["state"]]
    click.echo(f"{click.style(mark, fg=colour)} {finding['said']}")
    if finding["remedy"]:
        click.echo(f"    {finding['remedy']}")


def _summary(found: list[dict[str, Any]]) -> str:
    states = [finding["state"] for finding in found]
    failures, warnings = states.count("failure"), states.count("warning")
    if not failures and not warnings:
        return f"All {len(states)} checks are well."
    wrong = f"{failures} of {len(states)} checks failed" if failures else f"{len(states)} checks, none failed"
    return f"{wrong}{f', {warnings} to think about' if warnings else ''}."


async def _look(config_path: Path | None, offline: bool, tell: Callable[[dict[str, Any]], None]) -> None:
    from openfall.config import ConfigError, load

    try:
        loaded = load(config_path)
    except ConfigError as error:
        for finding in _faults(error):
            tell(asdict(finding))
        return
    for finding in _offline(loaded):
        tell(asdict(finding))
    if offline:
        return
    backends = asyncio.create_task(_backends(config_path, tell))
    async for finding in _redis(loaded):
        tell(asdict(finding))
    await backends


async def _backends(config_path: Path | None, tell: Callable[[dict[str, Any]], None]) -> None:
    from openfall.producers.cli.worker_process import run_worker_command

    async with aclosing(run_worker_command(config_path, "preflight")) as lines:
        async for line in lines:
            tell(line)


def _faults(error: ConfigError) -> Iterator[CheckResult]:
    for problem in error.problems:
        said = str(problem).removesuffix(problem.remedy).rstrip()
        yield CheckResult(check="configuration", what=problem.path, state="failure", said=said, remedy=problem.remedy)


def _offline(loaded: LoadedConfig) -> Iterator[CheckResult]:
    catalog = loaded.catalog
    kinds = (("backend", catalog.backends), ("model", catalog.models), ("role", catalog.roles))
    sizes = [f"{len(there)} {kind}{'' if len(there) == 1 else 's'}" for kind, there in kinds]
    said = f"{loaded.source}: {', '.join(sizes)}"
    yield CheckResult(check="configuration", what=str(loaded.source), state="ok", said=said)
    for name in catalog.backends:
        yield from _key(loaded, name)
    for alias, spec in catalog.models.items():
        for name in spec.backends:
            card = catalog.backends[name].vram_gb
            if card is not None and spec.vram_gb is not None and spec.vram_gb > card:
                said = f"{alias} needs {spec.vram_gb:g} GB, the card of {name} has {card:g}"
                remedy = "It will not load, or run in part on the CPU: take a smaller quantization."
                yield CheckResult(check="memory", what=f"{alias}@{name}", state="warning", said=said, remedy=remedy)


def _key(loaded: LoadedConfig, name: str) -> Iterator[CheckResult]:
    """Who is paid by the token wants a key."""
    from openfall.config import variables
    from openfall.router_core.catalog.entries import Billing

    catalog = loaded.catalog
    key = catalog.backends[name].api_key.get_secret_value()
    if not any(name in spec.backends for spec in catalog.models.values()):
        return
    if key:
        yield CheckResult(check="key", what=name, state="ok", said=f"{name} has a key ({redact_key(key)})")
    elif catalog.billing(name) is Billing.METERED:
        named = variables(loaded.source, f"backends.{name}.api_key")
        remedy = f"Set {' and '.join(named)}." if named else f"Write api_key: ${{...}} at backends.{name}."
        yield CheckResult(check="key", what=name, state="failure", said=f"{name} has no key", remedy=remedy)


async def _redis(loaded: LoadedConfig) -> AsyncIterator[CheckResult]:
    """Redis, and what it knows: who works, what is left alone."""
    from openfall.config import NoRedis, redis_url
    from openfall.router_core.state.errors import StoreError
    from openfall.router_core.state.redis_connection import RedisConnection

    try:
        url = redis_url(loaded.settings)
    except NoRedis as error:
        said, _, remedy = str(error).partition(". ")
        yield CheckResult(check="redis", what="redis", state="failure", said=said, remedy=remedy)
        return
    async with RedisConnection(url) as link:
        try:
            async with asyncio.timeout(WITHIN):
                await link.command("PING")
                yield CheckResult(check="redis", what="redis", state="ok", said=f"Redis answers at {link.safe_url}")
                for finding in [*await _workers(loaded, link), *await _breakers(loaded, link)]:
                    yield finding
        except (StoreError, TimeoutError) as error:
            said = str(error) or f"Redis does not answer at {link.safe_url} within {WITHIN:g} s"
            remedy = "Start it, or set REDIS_URL."
            yield CheckResult(check="redis", what="redis", state="failure", said=said, remedy=remedy)


async def _workers(loaded: LoadedConfig, link: RedisConnection) -> list[CheckResult]:
    from openfall.router_core.state.fleet_status import fetch_status

    seen, catalog = await fetch_status(link), loaded.catalog
    pools = [{name.partition(".")[0] for name in worker.queues} for worker in seen.workers if worker.alive]
    found = []
    for pool in catalog.pools:
        if not catalog.models_of(pool):
            continue
        number = sum(pool in served for served in pools)
        if number:
            said = f"{number} worker{'' if number == 1 else 's'} of pool {pool}"
            found.append(CheckResult(check="workers", what=pool, state="ok", said=said))
        else:
            remedy = f"openfall work {pool}, or openfall up for everything on this machine."
            said = f"no worker of pool {pool}: its models are asked by nobody"
            found.append(CheckResult(check="workers", what=pool, state="failure", said=said, remedy=remedy))
    return found


async def _breakers(loaded: LoadedConfig, link: RedisConnection) -> list[CheckResult]:
    from openfall.producers.cli.breakers import named, words_of
    from openfall.router_core.deciding.breaker import BreakerState
    from openfall.router_core.state.breakers import list_breakers
    from openfall.router_core.state.fleet_flags import local_only

    time_, rows, switch = await asyncio.gather(link.command("TIME"), list_breakers(link), local_only(link))
    found = []
    for row in rows:
        if row.state is not BreakerState.CLOSED:
            name = named(loaded.catalog, row.target)
            said = f"the breaker of {name} is {words_of(row, float(time_[0]))}: {row.why}"
            remedy = (
                f"It closes by itself when a health prompt is answered. To try it now: openfall breakers auto {name}"
            )
            if row.forced:
                remedy = f"openfall breakers auto {name}, when it may be called again."
            found.append(CheckResult(check="breakers", what=name, state="warning", said=said, remedy=remedy))
    if not found:
        found.append(CheckResult(check="breakers", what="breakers", state="ok", said="no breaker is open"))
    if switch is not None:
        said = f"nothing may leave the local pools ({switch})"
        found.append(
            CheckResult(check="local-only", what="fleet", state="warning", said=said, remedy="openfall local-only off")
        )
    return found
