"""Workers with a graphics card: real Valkey, real HTTP, and an Ollama look-alike with a memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.placement.use_by_hour import HourOfUse, week_of
from openfall.router_core.state.cards import fetch_cards, give_order, pending_order
from openfall.router_core.state.job_events import read_events
from openfall.router_core.state.model_use import fetch_use, write_use
from openfall.router_core.vocabulary import Urgency
from tests.fakes.card_ollama import CardOllama, card_ollama
from tests.worker_harness import Fleet, running_fleet

LARGE, SMALL = 10.0, 4.0


def catalog(url: str, **models: dict[str, Any]) -> Catalog:
    known = models or {"alpha": {"vram_gb": LARGE}, "beta": {"vram_gb": LARGE}, "small": {"vram_gb": SMALL}}
    return Catalog(
        backends={"tower": Backend(url=url, protocol="ollama", pool="gpu", slots=4, vram_gb=16)},
        models={
            name: ModelSpec(upstream=name, backends=("tower",), **{"load_time": 0.2, **more})
            for name, more in known.items()
        },
    )


@asynccontextmanager
async def card_fleet(
    redis_url: str, home: Path, workers: int = 1, **models: dict[str, Any]
) -> AsyncIterator[tuple[Fleet, CardOllama]]:
    async with (
        card_ollama({"alpha": LARGE, "beta": LARGE, "small": SMALL}, vram_gb=16) as ollama,
        running_fleet(redis_url, home, catalog(ollama.url, **models), *["gpu"] * workers) as fleet,
    ):
        yield fleet, ollama


async def answered(fleet: Fleet, job: str) -> None:
    await fleet.until(job, "done")
    assert await fleet.link.command("HGET", f"of:job:{job}", "status") == b"answered"


def test_a_backlog_for_models_that_cannot_share_the_card_loads_each_once(redis_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with card_fleet(redis_url, tmp_path, workers=2) as (fleet, ollama):
            jobs = [await fleet.accept(f"job-{n:05}", (("alpha", "beta")[n % 2],), Urgency.BATCH) for n in range(24)]
            for job in jobs:
                await answered(fleet, job)
            assert sorted(ollama.loads) == ["alpha", "beta"]
            assert ollama.evictions_by_itself == 0
            assert ollama.waited_for_a_load == 0, "no call reaches the engine before its model is ready"

    asyncio.run(work())


def test_models_that_fit_together_stay_together(redis_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with card_fleet(redis_url, tmp_path) as (fleet, ollama):
            for n in range(3):
                for model in ("alpha", "small"):
                    job = await fleet.accept(f"job-{model}-{n}", (model,), Urgency.BACKGROUND)
                    await fleet.until(job, "done")
            assert ollama.loads == ["alpha", "small"]

    asyncio.run(work())


def test_an_interactive_job_puts_a_young_batch_call_back_once(redis_url: str, tmp_path: Path) -> None:
    fast = {"alpha": {"vram_gb": LARGE, "keep_warm": 0}, "beta": {"vram_gb": LARGE, "keep_warm": 0}}

    async def work() -> None:
        async with card_fleet(redis_url, tmp_path, **fast) as (fleet, ollama):
            ollama.call_seconds["alpha"] = 3.0
            batch = await fleet.accept("job-batch", ("alpha",), Urgency.BATCH)
            await fleet.until(batch, "started")
            urgent = await fleet.accept("job-urgent", ("beta",), Urgency.INTERACTIVE)
            await answered(fleet, urgent)
            ollama.call_seconds["alpha"] = 0.0
            await answered(fleet, batch)
            events = [event["event"] for event in await read_events(fleet.link, batch)]
            assert events.count("put_back") == 1
            assert ollama.loads == ["alpha", "beta", "alpha"]

    asyncio.run(work())


def test_no_worker_takes_a_job_that_was_put_back_before_the_card_has_switched(redis_url: str, tmp_path: Path) -> None:
    fast = {"alpha": {"vram_gb": LARGE, "keep_warm": 0}, "beta": {"vram_gb": LARGE, "keep_warm": 0}}

    async def work() -> None:
        async with card_fleet(redis_url, tmp_path, workers=2, **fast) as (fleet, ollama):
            ollama.call_seconds["alpha"] = 600.0
            jobs = [await fleet.accept(f"job-batch-{n}", ("alpha",), Urgency.BATCH) for n in range(2)]
            for job in jobs:
                await fleet.until(job, "started")
            urgent = await fleet.accept("job-urgent", ("beta",), Urgency.INTERACTIVE)
            await answered(fleet, urgent)
            ollama.call_seconds["alpha"] = 0.0
            for job in jobs:
                await answered(fleet, job)
            assert [model for model, _ in ollama.calls] == ["alpha", "alpha", "beta", "alpha", "alpha"]

    asyncio.run(work())


def test_a_load_that_fails_is_not_repeated_at_once_and_says_why(redis_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with card_fleet(redis_url, tmp_path) as (fleet, ollama):
            ollama.broken.add("alpha")
            await fleet.accept("job-00001", ("alpha",), Urgency.BATCH)
            async with asyncio.timeout(60):
                while not (state := (await fetch_cards(fleet.link, ["tower"]))["tower"]).refused:
                    await asyncio.sleep(0.02)
            assert "out of memory" in state.refused["alpha"].why
            assert ollama.loads == ["alpha"]
            other = await fleet.accept("job-00002", ("beta",), Urgency.BATCH)
            await answered(fleet, other)

    asyncio.run(work())


def test_a_load_that_fails_is_not_repeated_while_the_memory_of_redis_is_full(redis_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with card_fleet(redis_url, tmp_path) as (fleet, ollama):
            ollama.broken.add("alpha")
            await fleet.accept("job-00001", ("alpha",), Urgency.BATCH)
            await fleet.link.command("CONFIG", "SET", "maxmemory", 1)
            try:
                async with asyncio.timeout(60):
                    while not (await fetch_cards(fleet.link, ["tower"]))["tower"].refused:
                        await asyncio.sleep(0.02)
                assert ollama.loads.count("alpha") == 1
            finally:
                await fleet.link.command("CONFIG", "SET", "maxmemory", 0)

    asyncio.run(work())


def test_an_operator_loads_unloads_and_pins_through_the_manager(redis_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with card_fleet(redis_url, tmp_path) as (fleet, ollama):
            for verb, expected in (("load", {"alpha"}), ("pin", {"alpha"}), ("unpin", {"alpha"}), ("unload", set())):
                await give_order(fleet.link, "tower", verb, "alpha")
                async with asyncio.timeout(60):
                    while await pending_order(fleet.link, "tower", verb, "alpha") or set(ollama.memory) != expected:
                        await asyncio.sleep(0.02)
            assert (await fetch_cards(fleet.link, ["tower"]))["tower"].pinned == {"alpha": False}

    asyncio.run(work())


def test_what_an_engine_has_in_memory_at_the_start_is_used(redis_url: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with card_ollama({"alpha": LARGE, "beta": LARGE}, vram_gb=16) as ollama:
            ollama.memory.add("beta")
            models = {"alpha": {"vram_gb": LARGE}, "beta": {"vram_gb": LARGE}}
            async with running_fleet(redis_url, tmp_path, catalog(ollama.url, **models), "gpu") as fleet:
                job = await fleet.accept("job-00001", ("beta",), Urgency.BATCH)
                await answered(fleet, job)
            assert ollama.loads == []

    asyncio.run(work())


def test_a_model_with_preload_is_loaded_at_the_start_and_not_again_after_an_operator_unloaded_it(
    redis_url: str, tmp_path: Path
) -> None:
    models = {"alpha": {"vram_gb": LARGE, "preload": True}, "small": {"vram_gb": SMALL, "preload": True}}

    async def work() -> None:
        async with card_fleet(redis_url, tmp_path, **models) as (fleet, ollama):
            async with asyncio.timeout(60):
                while ollama.memory != {"alpha", "small"}:
                    await asyncio.sleep(0.02)
                await give_order(fleet.link, "tower", "unload", "alpha")
                while await pending_order(fleet.link, "tower", "unload", "alpha"):
                    await asyncio.sleep(0.02)
            await answered(fleet, await fleet.accept("job-00001", ("small",), Urgency.BATCH))
            state = (await fetch_cards(fleet.link, ["tower"]))["tower"]
            assert (set(state.models), state.kept_out) == ({"small"}, ["alpha"])
            await answered(fleet, await fleet.accept("job-00002", ("alpha",), Urgency.BATCH))
            assert (await fetch_cards(fleet.link, ["tower"]))["tower"].kept_out == []

    asyncio.run(work())


def test_the_minutes_in_which_people_use_a_model_are_learned_and_it_is_loaded_for_them(
    redis_url: str, tmp_path: Path
) -> None:
    async def work() -> None:
        async with card_fleet(redis_url, tmp_path) as (fleet, ollama):
            await answered(fleet, await fleet.accept("job-00001", ("small",), Urgency.BATCH))
            await answered(fleet, await fleet.accept("job-00002", ("beta",), Urgency.INTERACTIVE))
            async with asyncio.timeout(60):
                while not (await fetch_use(fleet.link, ["beta"]))["beta"]:
                    await asyncio.sleep(0.02)
            assert (await fetch_use(fleet.link, ["small"]))["small"] == {}, "only use by people counts"
            seconds, _ = await fleet.link.command("TIME")
            last_week = week_of(int(seconds)) - 1
            for hour in range(7 * 24):
                await write_use(fleet.link, "alpha", hour, HourOfUse(60.0, last_week))
        async with card_fleet(redis_url, tmp_path) as (fleet, ollama):
            async with asyncio.timeout(60):
                while ollama.memory != {"alpha"}:
                    await asyncio.sleep(0.02)
                while "alpha" not in (state := (await fetch_cards(fleet.link, ["tower"]))["tower"]).models:
                    await asyncio.sleep(0.02)
            assert state.models["alpha"].loaded_for.startswith("preloaded: people use it at this hour, about ")

    asyncio.run(work())
