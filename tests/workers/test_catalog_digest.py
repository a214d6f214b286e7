"""Workers that read another configuration are named: by status, workers, preflight and the first submit."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import yaml

from openfall import AsyncOpenfall
from openfall.config import LoadedConfig, describe_source, load
from openfall.config.paths import DEMO
from openfall.producers.fleet_problems import ProblemCode, problems_of_catalogs
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.state.fleet_catalogs import describe_catalogs, fetch_workers
from openfall.router_core.state.fleet_status import WorkerStatus
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.generations import Generation
from openfall.workers.service_manager import ServiceManager
from openfall.workers.worker import StopMode
from openfall.workers.worker_options import WorkerOptions, watch_worker_config
from tests.settled_file import write_settled
from tests.worker_harness import running_fleet


def configured(home: Path, redis_url: str, **model: Any) -> LoadedConfig:
    home.mkdir(exist_ok=True)
    document = {
        "redis": redis_url,
        "data": str(home / "data"),
        "backends": {"box": {"url": "http://127.0.0.1:9", "pool": "gpu"}},
        "models": {"small": {"upstream": "small", "backends": ["box"], **model}},
        "roles": {"chat": {"chain": ["small"]}},
    }
    write_settled(home / "openfall.yaml", yaml.safe_dump(document))
    return load(home / "openfall.yaml")


def test_a_worker_registers_the_digest_of_its_catalog_and_a_client_with_the_same_file_is_content(
    redis_url, tmp_path, caplog
):
    loaded = configured(tmp_path / "a", redis_url)

    async def story() -> None:
        async with running_fleet(redis_url, tmp_path, loaded.catalog, "gpu") as fleet:
            (worker,) = await fetch_workers(fleet.link)
            assert worker.catalog == catalog_digest(loaded.catalog)
            assert describe_catalogs([worker], worker.catalog, "a file") == ""
            async with AsyncOpenfall(config=loaded) as llm:
                await llm.submit("hi", role="chat")

    with caplog.at_level(logging.WARNING, "openfall.client"):
        asyncio.run(story())
    assert [record for record in caplog.records if record.name == "openfall.client"] == []


def test_the_first_submit_names_the_worker_that_reads_another_file_and_its_digest(redis_url, tmp_path, caplog):
    ours = configured(tmp_path / "a", redis_url)
    theirs = configured(tmp_path / "b", redis_url, context=9000)
    digest = catalog_digest(theirs.catalog)

    async def story() -> str:
        async with running_fleet(redis_url, tmp_path, theirs.catalog, "gpu") as fleet:
            (worker,) = await fetch_workers(fleet.link)
            async with AsyncOpenfall(config=ours) as llm:
                await llm.submit("hi", role="chat")
                await llm.submit("hi again", role="chat")
            (problem,) = problems_of_catalogs([worker], catalog_digest(ours.catalog))
            assert (problem.code, problem.subject) == (ProblemCode.OTHER_CATALOG, worker.name)
            return worker.name

    with caplog.at_level(logging.WARNING, "openfall.client"):
        name = asyncio.run(story())
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "openfall.client"]
    assert f"{digest}: {name}" in warning
    assert catalog_digest(ours.catalog) in warning


def test_a_changed_configuration_changes_the_registered_digest(redis_url, tmp_path):
    async def digests(loaded: LoadedConfig) -> list[str]:
        config = watch_worker_config(loaded, WorkerOptions(pool="gpu"), ServiceManager())
        before = Generation(config)
        task = asyncio.create_task(before.work())
        await before.ready.wait()
        configured(tmp_path / "a", redis_url, context=9000)
        assert config.reload is not None
        changed = config.reload()
        assert changed is not None
        after = Generation(changed)
        later = asyncio.create_task(after.work())
        await after.ready.wait()
        before.stop(StopMode.NOW)
        await task
        async with RedisConnection(redis_url) as link:
            registered = [worker.catalog for worker in await fetch_workers(link) if worker.alive]
        after.stop(StopMode.NOW)
        await later
        return registered

    loaded = configured(tmp_path / "a", redis_url)
    registered = asyncio.run(digests(loaded))
    assert registered == [catalog_digest(load(tmp_path / "a" / "openfall.yaml").catalog)]
    assert registered != [catalog_digest(loaded.catalog)]


def test_a_long_list_of_workers_is_cut():
    fields: dict[str, Any] = {
        "state": "idle", "alive": True, "queues": (), "host": "h", "pid": 1, "heartbeat_age_seconds": 1.0,
        "answered": 0, "failed": 0,
    }  # fmt: skip
    workers = [WorkerStatus(name=f"w{n}", catalog="aaa", **fields) for n in range(5)]
    gone = WorkerStatus(name="gone", catalog="bbb", **{**fields, "alive": False})
    older = WorkerStatus(name="older", catalog="", **fields)
    text = describe_catalogs([*workers, gone, older], "ccc", describe_source(DEMO))
    assert "aaa: w0, w1, w2 and 2 more." in text
    assert (
        "than the shipped demo, which is in force here without an openfall.yaml and without OPENAI_MODEL (ccc)" in text
    )
    assert "gone" not in text
    assert "older" not in text
