"""Checks everything that a configuration names: the file, its keys, Redis, workers, breakers, every endpoint and model.

For `openfall preflight` and for the page. It loads no model and makes no call that costs money.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from openfall.config import (
    ConfigError,
    ConfigProblem,
    LoadedConfig,
    NoRedis,
    describe_source,
    load,
    missing_keys,
    redact_key,
    redis_server,
    stamp,
)
from openfall.producers.amount_text import describe_waiting, plural
from openfall.producers.breaker_names import describe_breaker, display_name, is_known
from openfall.producers.removed_queue import describe_removed_queue, is_removed, removed_queue_advice
from openfall.producers.shell_command import shell_command
from openfall.producers.table import MarkedText, Table
from openfall.router_core.catalog.backend_keys import is_placeholder
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.redis_preconditions import Fault
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.errors import StoreError, StoreUnreachable
from openfall.router_core.state.fleet_catalogs import CATALOG_REMEDY, catalog_difference
from openfall.router_core.state.fleet_status import FleetStatus, fetch_status
from openfall.router_core.state.keys import CLIENT_KEYS, DEGRADE
from openfall.router_core.state.operator_switches import local_only
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_server_check import fetch_findings
from openfall.router_core.state.server_clock import fetch_server_time
from openfall.router_core.vocabulary import BreakerState, ErrorClass
from openfall.workers.admin.backend_preflight import CheckResult, CheckState
from openfall.workers.admin.backend_preflight import preflight as check_backends

REDIS_TIMEOUT_SECONDS = 3.0
"""For all checks in Redis. The checks of backends have a timeout of their own."""
_MORE_TIME = (
    "If the model is slow and not broken, give it time: first_token_timeout of the model, reply_within of the urgency."
)
COLUMNS = ("state", "check", "of", "what", "remedy")
_TONES = {"failure": "bad", "warning": "warn", "ok": "good"}
"""By state, in the order in which a table has them."""


async def run_checks(config: LoadedConfig, *, offline: bool = False) -> AsyncIterator[CheckResult]:
    """Yield the result of each check, as it ends. `offline`: only those of the configuration and its keys."""
    for result in _check_config(config):
        yield result
    if offline:
        return
    results: asyncio.Queue[CheckResult | None] = asyncio.Queue()

    async def put_each(checks: AsyncIterator[CheckResult]) -> None:
        async for result in checks:
            results.put_nowait(result)

    async def put_all() -> None:
        try:
            await asyncio.gather(put_each(check_backends(config.catalog)), put_each(_check_redis(config)))
        finally:
            results.put_nowait(None)

    running = asyncio.create_task(put_all())
    try:
        while (next_result := await results.get()) is not None:
            yield next_result
        await running
    finally:
        running.cancel()


def check_files(config: LoadedConfig) -> Iterator[CheckResult]:
    """Whether the files of a running process are as it read them."""
    if stamp(config.source) == config.stamp:
        return
    try:
        load(config.source)
    except ConfigError as error:
        yield from config_problems(error)
    message = f"{config.source} or its .env has changed since this process read it"
    remedy = "A valid file is in force within seconds: look again. If this stays, the log of the process says why."
    yield CheckResult("configuration", str(config.source), "warning", message, remedy)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of a preflight."""

    results: Sequence[CheckResult]

    @property
    def summary(self) -> str:
        """`2 of 14 checks failed, 1 warning.`"""
        states = [result.state for result in self.results]
        failures, warnings = states.count("failure"), states.count("warning")
        passed = f"{plural(states.count('ok'), 'check')} passed"
        summary = f"{failures} of {plural(len(states), 'check')} failed" if failures else passed
        return f"{summary}, {plural(warnings, 'warning')}." if warnings else f"{summary}."

    @property
    def table(self) -> Table:
        """The failures first, then the warnings."""
        order = list(_TONES)
        rows = [
            (MarkedText(each.state, _TONES[each.state]), each.check, each.subject, each.message, each.remedy or "-")
            for each in sorted(self.results, key=lambda result: order.index(result.state))
        ]
        return Table(columns=COLUMNS, rows=rows, if_empty="nothing was checked")


def config_problems(error: ConfigError) -> Iterator[CheckResult]:
    """Each problem of a file, as a check that failed."""
    return (_of_problem(problem, problem.path, "failure") for problem in error.problems)


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
    if any(map(is_placeholder, keys)) and catalog.is_metered(name):
        return  # a warning of the configuration says so
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
                        if result.subject in (Fault.OLD_SERVER, Fault.NO_FUNCTIONS):
                            return  # it runs no script of the other checks
        except (StoreError, TimeoutError) as error:
            timeout = f"Redis does not answer at {connection.safe_url} within {REDIS_TIMEOUT_SECONDS:g} s"
            remedy = "Start it, or set REDIS_URL." if isinstance(error, StoreUnreachable | TimeoutError) else ""
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
    difference = catalog_difference(status.members, catalog_digest(catalog), describe_source(config.source))
    served = [{name.partition(".")[0] for name in worker.queues} for worker in status.workers if worker.alive]
    results = []
    for pool in catalog.pools:
        if not catalog.models_of(pool):
            continue
        if count := sum(pool in pools for pools in served):
            message = f"{plural(count, 'worker')} of pool {pool}"
            results.append(CheckResult("workers", pool, "ok", message))
        else:
            remedy = f"{shell_command('openfall work', pool)}, or openfall up for everything on this machine."
            message = f"no worker of pool {pool}: its models get no calls"
            results.append(CheckResult("workers", pool, "failure", message, remedy))
    if any(served) and not any(DEGRADE in pools for pools in served):
        message = "no degrade worker: a job that no model can serve gets no reply, and no webhook or notice is sent"
        state: CheckState = "failure" if status.falling else "warning"  # as the problems of `openfall status`
        results.append(CheckResult("workers", DEGRADE, state, message, "openfall work degrade, on any machine."))
    results += _check_removed_queues(config, status) if any(served) else ()
    if await connection.command("HLEN", CLIENT_KEYS) and not status.gateways:
        message, remedy = "no gateway is alive, and callers have keys of one", "openfall serve, on its host."
        results.append(CheckResult("workers", "gateway", "warning", message, remedy))
    if difference:
        results.append(CheckResult("workers", "catalog", "warning", difference, f"{CATALOG_REMEDY}."))
    return results


def _check_removed_queues(config: LoadedConfig, status: FleetStatus) -> Iterator[CheckResult]:
    """The queues with waiting jobs that left the configuration."""
    for queue in status.unserved:
        if is_removed(queue.name, config.catalog):
            message = f"{describe_removed_queue(queue.name, config.catalog)}: {describe_waiting(queue.waiting)}"
            remedy = f"{removed_queue_advice(queue.name, config.catalog)}."
            yield CheckResult("workers", queue.name, "failure", message, remedy)


async def _check_breakers(config: LoadedConfig, connection: RedisConnection) -> list[CheckResult]:
    now, rows, reason = await asyncio.gather(
        fetch_server_time(connection), list_breakers(connection), local_only(connection)
    )
    results = []
    for row in rows:
        if row.state is BreakerState.CLOSED:
            continue
        name = display_name(config.catalog, row.target)
        message = f"the breaker of {name} is {describe_breaker(row, now)}: {row.why}"
        reset = shell_command("openfall breakers reset", name)
        remedy = f"It closes when a health prompt succeeds. To try it now: {reset}"
        if row.error is ErrorClass.TIMEOUT:
            remedy = f"{_MORE_TIME} {remedy}"
        if row.forced:
            remedy = f"{reset}, when it may get calls again."
        if not is_known(config.catalog, name):
            remedy = (
                "A worker or gateway has another configuration than this process: `openfall workers` shows it. "
                "Restart it after a change of its variables."
            )
        results.append(CheckResult("breakers", name, "warning", message, remedy))
    if not results:
        results.append(CheckResult("breakers", "breakers", "ok", "no breaker is open"))
    if reason is not None:
        message = f"local-only is on: no job leaves the local pools ({reason})"
        remedy = "openfall local-only off"
        results.append(CheckResult("local-only", "fleet", "warning", message, remedy))
    return results
