"""`openfall preflight`: checks everything that the configuration names. One line per check, as each ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict

import click

from openfall.config import (
    ConfigError,
    ConfigProblem,
    LoadedConfig,
    NoRedis,
    load,
    missing_keys,
    redact_key,
    redis_server,
)
from openfall.producers.breaker_names import describe_breaker, display_name
from openfall.producers.cli.options import common_options, config_path
from openfall.producers.cli.render import plural
from openfall.producers.cli.terminal import echo, echo_marked, show_json, wants_json
from openfall.router_core.catalog.digest import catalog_digest
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.fleet_catalogs import describe_catalogs
from openfall.router_core.state.fleet_flags import local_only
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.server_check import fetch_findings
from openfall.router_core.vocabulary import BreakerState
from openfall.workers.admin.preflight import CheckResult, CheckState
from openfall.workers.admin.preflight import preflight as check_backends

CHECK_FAILED = 4
REDIS_TIMEOUT_SECONDS = 3.0
"""For all checks in Redis. The checks of backends have a timeout of their own."""

_MARKS: dict[CheckState, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


@click.command(short_help="Check everything that the configuration names.")
@click.option("--offline", is_flag=True, help="Check only the configuration and its keys.")
@common_options
def preflight(offline: bool) -> None:
    """Check everything that the configuration names, and print a remedy for each failure.

    Checks the configuration, its keys, Redis, workers, breakers, every endpoint and every model. It loads no model and
    makes no call that costs money. Exits with 4 if a check fails.
    """
    results = asyncio.run(_run_checks(offline))
    if not wants_json():
        echo(_summary(results))
    failed = any(result.state == "failure" for result in results)
    raise click.exceptions.Exit(CHECK_FAILED if failed else 0)


async def _run_checks(offline: bool) -> list[CheckResult]:
    results: list[CheckResult] = []

    def report(result: CheckResult) -> None:
        results.append(result)
        show_json(asdict(result)) if wants_json() else _show(result)

    async def report_each(checks: AsyncIterator[CheckResult]) -> None:
        async for result in checks:
            report(result)

    try:
        config = load(config_path())
    except ConfigError as error:
        for problem in error.problems:
            report(_of_problem(problem, problem.path, "failure"))
        return results
    for result in _check_config(config):
        report(result)
    if not offline:
        await asyncio.gather(report_each(check_backends(config.catalog)), report_each(_check_redis(config)))
    return results


def _show(result: CheckResult) -> None:
    mark, colour = _MARKS[result.state]
    echo_marked(mark, colour, result.message)
    if result.remedy:
        echo(f"    {result.remedy}")


def _summary(results: Sequence[CheckResult]) -> str:
    states = [result.state for result in results]
    failures, warnings = states.count("failure"), states.count("warning")
    passed = f"{plural(states.count('ok'), 'check')} passed"
    summary = f"{failures} of {plural(len(states), 'check')} failed" if failures else passed
    return f"{summary}, {plural(warnings, 'warning')}." if warnings else f"{summary}."


def _of_problem(problem: ConfigProblem, subject: object, state: CheckState) -> CheckResult:
    message = str(problem).removesuffix(problem.remedy).rstrip()
    return CheckResult("configuration", str(subject), state, message, problem.remedy)


def _check_config(config: LoadedConfig) -> Iterator[CheckResult]:
    catalog = config.catalog
    entries = (("backend", catalog.backends), ("model", catalog.models), ("role", catalog.roles))
    message = f"{config.source}: {', '.join(plural(len(names), kind) for kind, names in entries)}"
    yield CheckResult("configuration", str(config.source), "ok", message)
    yield from (_of_problem(warning, warning.file, "warning") for warning in config.warnings)
    yield from (_of_problem(problem, problem.file, "failure") for problem in config.missing)
    for name in catalog.backends:
        yield from _check_key(config, name)
    for alias, spec in catalog.models.items():
        for name in spec.backends:
            card = catalog.backends[name].vram_gb
            if card is not None and spec.vram_gb is not None and spec.vram_gb > card:
                message = f"{alias} needs {spec.vram_gb:g} GB, the card of {name} has {card:g}"
                remedy = "It will not load, or will run partly on the CPU: choose a smaller quantization."
                yield CheckResult("memory", f"{alias}@{name}", "warning", message, remedy)


def _check_key(config: LoadedConfig, name: str) -> Iterator[CheckResult]:
    """A backend that charges by the token needs a key."""
    catalog = config.catalog
    keys = catalog.backends[name].secrets
    if not any(name in spec.backends for spec in catalog.models.values()):
        return
    if keys:
        count = "a key" if len(keys) == 1 else f"{len(keys)} keys"
        message = f"{name} has {count} ({', '.join(map(redact_key, keys))})"
        yield CheckResult("key", name, "ok", message)
    elif problem := dict(missing_keys(config)).get(name):
        yield CheckResult("key", name, "failure", problem.message, problem.remedy)


async def _check_redis(config: LoadedConfig) -> AsyncIterator[CheckResult]:
    """Check Redis, and what it stores: workers, breakers, the local-only switch."""
    try:
        server = redis_server(config.settings)
    except NoRedis as error:
        message, _, remedy = str(error).partition(". ")
        yield CheckResult("redis", "redis", "failure", message, remedy)
        return
    async with RedisConnection(server) as connection:
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await connection.command("PING")
                message = f"Redis answers at {connection.safe_url}"
                yield CheckResult("redis", "redis", "ok", message)
                for check in (_check_server, _check_workers, _check_breakers):
                    for result in await check(config, connection):
                        yield result
        except (StoreError, TimeoutError) as error:
            timeout = f"Redis does not answer at {connection.safe_url} within {REDIS_TIMEOUT_SECONDS:g} s"
            remedy = "Start it, or set REDIS_URL."
            yield CheckResult("redis", "redis", "failure", str(error) or timeout, remedy)


async def _check_server(config: LoadedConfig, connection: RedisConnection) -> list[CheckResult]:
    """The preconditions of Redis. An accepted risk is a warning."""
    findings = await fetch_findings(connection, config.settings.server_terms)
    if not findings:
        return [CheckResult("redis", "server", "ok", "Redis is set up to keep every accepted job")]
    results = []
    for finding in findings:
        state: CheckState = "failure" if finding.is_fatal else "warning"
        message = f"accepted risk: {finding.message}" if finding.accepted else finding.message
        results.append(CheckResult("redis", finding.name, state, message, "" if finding.accepted else finding.remedy))
    return results


async def _check_workers(config: LoadedConfig, connection: RedisConnection) -> list[CheckResult]:
    status, catalog = await fetch_status(connection), config.catalog
    difference = describe_catalogs(status.workers, catalog_digest(catalog))
    served = [{name.partition(".")[0] for name in worker.queues} for worker in status.workers if worker.alive]
    results = []
    for pool in catalog.pools:
        if not catalog.models_of(pool):
            continue
        if count := sum(pool in pools for pools in served):
            message = f"{plural(count, 'worker')} of pool {pool}"
            results.append(CheckResult("workers", pool, "ok", message))
        else:
            remedy = f"openfall work {pool}, or openfall up for everything on this machine."
            message = f"no worker of pool {pool}: its models get no calls"
            results.append(CheckResult("workers", pool, "failure", message, remedy))
    if difference:
        message, _, remedy = difference.partition(". ")
        results.append(CheckResult("workers", "catalog", "warning", message, f"{remedy}."))
    return results


async def _check_breakers(config: LoadedConfig, connection: RedisConnection) -> list[CheckResult]:
    time, rows, reason = await asyncio.gather(
        connection.command("TIME"), list_breakers(connection), local_only(connection)
    )
    results = []
    for row in rows:
        if row.state is BreakerState.CLOSED:
            continue
        name = display_name(config.catalog, row.target)
        message = f"the breaker of {name} is {describe_breaker(row, float(time[0]))}: {row.why}"
        remedy = f"It closes when a health prompt succeeds. To try it now: openfall breakers reset {name}"
        if row.forced:
            remedy = f"openfall breakers reset {name}, when it may get calls again."
        results.append(CheckResult("breakers", name, "warning", message, remedy))
    if not results:
        results.append(CheckResult("breakers", "breakers", "ok", "no breaker is open"))
    if reason is not None:
        message = f"local-only is on: no job leaves the local pools ({reason})"
        remedy = "openfall local-only off"
        results.append(CheckResult("local-only", "fleet", "warning", message, remedy))
    return results
