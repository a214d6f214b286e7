"""What workers report of an Ollama's models: real workers and a fake Ollama in front of a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.server import find_free_port
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.state.backend_reports import remember_load_error, remembered_load_errors
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.model_status import fetch_model_status, fetch_other_models
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import BlockReason, Urgency
from openfall.workers.admin.model_admin import ModelAdmin, record_models
from openfall.workers.backends.registry import open_backend
from openfall.workers.maintenance import housekeeping
from tests.fakes.ollama import FakeModel, ollama_fake
from tests.worker_harness import Fleet, running_fleet
from tests.workers.backends.conftest import engine as engine
from tests.workers.backends.protocol_clients import MODEL

OTHERS = (FakeModel("qwen3:4b"), FakeModel("spare"))
NOWHERE = "http://127.0.0.1:9"


def catalog_for(url: str) -> Catalog:
    return Catalog(
        backends={"tower": Backend(url=url, pool="gpu", protocol="ollama")},
        models={
            "small": ModelSpec(upstream=MODEL, backends=("tower",), context=1024, load_time=1, max_tokens=4),
            "gone": ModelSpec(upstream="not-pulled", backends=("tower",)),
        },
    )


async def state_of(link: RedisConnection, catalog: Catalog, model: str = "small") -> tuple[str, str]:
    (row,) = [row.backends[0] for row in await fetch_model_status(link, catalog) if row.model == model]
    return row.load_state, row.why


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.01)


def test_a_model_that_a_job_loads_is_loading_then_in_use_and_ready_at_once_after_the_answer(
    engine: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "MODELS_INTERVAL_SECONDS", 3600.0)  # there is one regular report, at the start

    async def story(fleet: Fleet) -> None:
        link, catalog = fleet.link, fleet.catalog

        async def shows(*states: str) -> bool:
            return (await state_of(link, catalog))[0] in states

        await until(lambda: shows("not_loaded"))
        await fleet.accept("job-00000001", ("small",), Urgency.INTERACTIVE)
        await until(lambda: shows("loading"))
        await fleet.until("job-00000001", "done")
        await until(lambda: shows("ready"))

    async def main() -> None:
        async with (
            ollama_fake(engine, [FakeModel(MODEL, load_s=1.0)]) as fake,
            running_fleet(redis_url, tmp_path, catalog_for(fake.url), "gpu") as fleet,
        ):
            await story(fleet)

    asyncio.run(main())


def test_models_that_an_ollama_has_and_the_file_does_not_are_reported(redis_url: str) -> None:
    async def main() -> None:
        async with ollama_fake(NOWHERE, [FakeModel(MODEL), *OTHERS]) as fake, RedisConnection(redis_url) as link:
            catalog = catalog_for(fake.url)
            backend = open_backend(catalog.backends["tower"])
            try:
                assert await backend.load("spare", None, 10) is None
                await record_models(link, catalog, "tower", backend, 1.0)
            finally:
                await backend.close()
            others = await fetch_other_models(link, catalog)
        assert [(other.upstream, other.backend, other.load_state) for other in others] == [
            ("qwen3:4b", "tower", "not_loaded"), ("spare", "tower", "ready"),
        ]  # fmt: skip

    asyncio.run(main())


def test_a_load_that_failed_shows_as_error_with_its_reason_until_the_model_is_in_memory(redis_url: str) -> None:
    async def load(link: RedisConnection, catalog: Catalog) -> bool:
        return [bool(report["ok"]) async for report in ModelAdmin(catalog, link).run("load", "small")] == [True]

    async def main() -> None:
        model = FakeModel(MODEL, fault="oom")
        async with ollama_fake(NOWHERE, [model]) as fake, RedisConnection(redis_url) as link:
            catalog = catalog_for(fake.url)
            assert not await load(link, catalog)
            state, why = await state_of(link, catalog)
            assert state == "error"
            assert why.startswith("its last load failed: ")
            assert "out of memory" in why
            backend = open_backend(catalog.backends["tower"])
            try:
                await record_models(link, catalog, "tower", backend, 1.0)
                assert (await state_of(link, catalog))[0] == "error"  # a report without the model cures nothing
                (own,) = fake.models.values()
                own.fault = None
                assert await backend.load(MODEL, 1024, 10) is None  # by someone else
            finally:
                await backend.close()
            assert await load(link, catalog)
            assert await state_of(link, catalog) == ("ready", "")
            assert await remembered_load_errors(link) == {}

    asyncio.run(main())


def test_a_model_that_answered_meanwhile_has_no_load_error_left(redis_url: str) -> None:
    async def main() -> None:
        async with ollama_fake(NOWHERE, [FakeModel(MODEL)]) as fake, RedisConnection(redis_url) as link:
            catalog = catalog_for(fake.url)
            await remember_load_error(link, "tower/small", "no room", 1.0)
            await remember_load_error(link, "tower/gone", "no such model", 1.0)
            backend = open_backend(catalog.backends["tower"])
            try:
                assert await backend.load(MODEL, 1024, 10) is None
                await record_models(link, catalog, "tower", backend, 1.0)
            finally:
                await backend.close()
            assert list(await remembered_load_errors(link)) == ["tower/gone"]

    asyncio.run(main())


@pytest.mark.parametrize("known_before", [False, True])
def test_an_ollama_that_refuses_connections_is_no_choice_until_it_is_back(redis_url: str, known_before: bool) -> None:
    """Its models are checked before they are chosen, without a call of a job and without a load."""

    async def main() -> None:
        port = find_free_port()
        catalog = catalog_for(f"http://127.0.0.1:{port}")
        backend = open_backend(catalog.backends["tower"])

        async def report(link: RedisConnection) -> list[BlockReason | None]:
            now = (await fetch_fleet_snapshot(link, catalog)).now
            await record_models(link, catalog, "tower", backend, now)
            backends = (await fetch_fleet_snapshot(link, catalog)).backends
            blocks = [row.blocked for rows in backends.values() for row in rows]
            return [blocked and blocked.reason for blocked in blocks]

        try:
            async with RedisConnection(redis_url) as link:
                if known_before:
                    async with ollama_fake(NOWHERE, [FakeModel(MODEL)], port=port):
                        assert await report(link) == [None, None]
                assert await report(link) == [BlockReason.UNHEALTHY, BlockReason.UNHEALTHY]
                async with ollama_fake(NOWHERE, [FakeModel(MODEL)], port=port) as fake:
                    assert await report(link) == [None, None]
                    assert fake.memory.loads == []
        finally:
            await backend.close()

    asyncio.run(main())
