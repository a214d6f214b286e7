"""What the supervisor starts for a configuration: which services run on this machine, with which arguments."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson

from openfall.config import LoadedConfig, redis_server, variable_for_other_folders, variables
from openfall.router_core.state.keys import DEGRADE
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_server_check import require_server
from openfall.router_core.vocabulary import JobKind
from openfall.workers.local import supervisor
from openfall.workers.local.engine import EngineSpec
from openfall.workers.local.restarter import Report
from openfall.workers.local.services import WorkerSpec
from openfall.workers.local.shipped_model import locate_model
from openfall.workers.service_manager import ServiceManager
from openfall.workers.timestamp import iso_time


async def run_all(loaded: LoadedConfig, log_format: str | None, manager: ServiceManager) -> int:
    """Run Valkey if no Redis is configured, every embedded engine, and the workers of each pool that has a model."""
    settings, log_argument = loaded.settings, () if log_format is None else ("--log-format", log_format)
    if not settings.redis.is_embedded:
        await _require_server(loaded)  # fail before any process is started
    plan = supervisor.SupervisorPlan(
        data=settings.data_dir,
        valkey=settings.redis.is_embedded,
        engines=tuple(_engines(loaded)),
        workers=tuple(
            replace(spec, argv=(*spec.argv, *log_argument)) for spec in (*_workers(loaded), *_gateway(loaded))
        ),
        grace=settings.workers.shutdown_grace,
    )
    return await _supervise(plan, partial(_report_of_all, loaded), manager)


async def run_pool(loaded: LoadedConfig, pool: str, argv: Sequence[str], procs: int, manager: ServiceManager) -> int:
    """Run `procs` workers of one pool. Each gets the arguments of this process, `argv`, without `--procs`."""
    await _require_server(loaded)
    spec = WorkerSpec(pool=pool, argv=_worker_argv(tuple(_without_procs(argv))), procs=procs)
    plan = supervisor.SupervisorPlan(
        data=loaded.settings.data_dir, workers=(spec,), exclusive=False, grace=loaded.settings.workers.shutdown_grace
    )
    return await _supervise(plan, _report, manager)


async def _supervise(plan: supervisor.SupervisorPlan, report: Report, manager: ServiceManager) -> int:
    """Run the plan, and keep the service manager informed."""

    def report_to_both(event: dict[str, Any]) -> None:
        report(event)
        if event["event"] == "fleet_ready":
            manager.ready()
        elif event["event"] == "fleet_stopping":
            manager.stopping(plan.grace)

    watchdog = asyncio.create_task(manager.stay_alive(), name="watchdog")
    try:
        return await supervisor.run(plan, report_to_both)
    finally:
        watchdog.cancel()


async def _require_server(loaded: LoadedConfig) -> None:
    async with RedisConnection(redis_server(loaded.settings)) as link:
        await require_server(link, loaded.settings.server_terms)


def _engines(loaded: LoadedConfig) -> Iterator[EngineSpec]:
    for name, engine in loaded.settings.engines.items():
        path, notice = locate_model(engine.model)
        yield EngineSpec(
            name=name,
            model=path,
            port=urlsplit(loaded.catalog.backends[name].url).port or 80,
            aliases=tuple(dict.fromkeys(m.upstream for m in loaded.catalog.models.values() if name in m.backends)),
            ctx=engine.context,
            parallel=engine.parallel or loaded.catalog.backends[name].slots,
            threads=engine.threads,
            gpu_layers=engine.gpu_layers,
            notice=notice,
            port_setting=_describe_setting(
                loaded, f"backends.{name}.url", f"`url` of `backends.{name}` in {loaded.source}"
            ),
            embeds=any(m.kind is JobKind.EMBEDDING for m in loaded.catalog.models.values() if name in m.backends),
        )


def _describe_setting(loaded: LoadedConfig, key: str, place: str) -> str:
    """The variables that a value of the configuration takes from the environment, or else its place."""
    names = variables(loaded.source, key)
    return f"set {' or '.join(names)}" if names else place


def _workers(loaded: LoadedConfig) -> Iterator[WorkerSpec]:
    for pool in loaded.catalog.pools:
        if loaded.catalog.models_of(pool):
            argv = _worker_argv(("work", pool, "--config", str(loaded.source)))
            yield WorkerSpec(pool=pool, argv=argv, procs=loaded.settings.workers.processes)
    argv = _worker_argv(("work", DEGRADE, "--config", str(loaded.source)))
    yield WorkerSpec(pool=DEGRADE, argv=argv, procs=1)


def _gateway(loaded: LoadedConfig) -> Iterator[WorkerSpec]:
    """The HTTP gateway, if it has an address."""
    addresses = loaded.settings.gateway.listen
    if addresses:
        argv = (sys.executable, "-m", "openfall.producers.gateway", "--config", str(loaded.source), "--announce")
        yield WorkerSpec(
            pool="",
            label="gateway",
            optional=True,
            argv=argv,
            fields={"url": f"http://{addresses[0]}/v1"},
            addresses=addresses,
            address_setting=_describe_setting(
                loaded, "gateway.listen", f"`gateway: {{listen: [...]}}` in {loaded.source}"
            ),
        )


def _worker_argv(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return (sys.executable, "-m", "openfall.workers", *arguments, "--announce")


def _without_procs(argv: Sequence[str]) -> Iterator[str]:
    rest = iter(argv)
    for argument in rest:
        if argument == "--procs":
            next(rest, None)
        elif not argument.startswith("--procs="):
            yield argument


def _report_of_all(loaded: LoadedConfig, event: dict[str, Any]) -> None:
    """As `_report`. The event that everything runs has what a program elsewhere needs to reach it, and to read the same
    configuration."""
    if event["event"] == "fleet_ready":
        if loaded.settings.redis.is_embedded:
            event = {**event, "environment": variable_for_other_folders(loaded.settings)}
        if names := loaded.provider_variables:
            event = {**event, "variables": names}
    _report(event)


def _report(event: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps({"at": iso_time(time.time()), **event}) + b"\n")
    sys.stdout.buffer.flush()
