"""A fleet whose card has a sidecar: real Valkey, real HTTP, and look-alikes of llama-server as processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.state.model_status import fetch_model_status
from openfall.router_core.vocabulary import LoadState, Urgency
from tests.worker_harness import running_fleet
from tests.workers.sidecar.harness import running_sidecar


def test_a_backlog_for_two_profiles_that_do_not_fit_together_starts_each_once(redis_url: str, tmp_path: Path) -> None:
    profiles = {"alpha": {"vram_gb": 10}, "beta": {"vram_gb": 10}}

    async def work() -> None:
        async with running_sidecar(tmp_path, profiles, vram_gb=16, token="t") as sidecar:
            backend = Backend(url=sidecar.url, pool="gpu", slots=4, vram_gb=16, loader="sidecar", api_key="t")
            models = {
                name: ModelSpec(upstream=name, backends=("tower",), vram_gb=10, load_time=0.3) for name in profiles
            }
            catalog = Catalog(backends={"tower": backend}, models=models)
            async with running_fleet(redis_url, tmp_path, catalog, "gpu") as fleet:
                names = ("alpha", "beta")
                jobs = [await fleet.accept(f"job-{n:05}", (names[n % 2],), Urgency.BATCH) for n in range(12)]
                for job in jobs:
                    await fleet.until(job, "done")
                    assert await fleet.link.command("HGET", f"of:job:{job}", "status") == b"answered"
        logs = [tmp_path / ".openfall" / "log" / f"profile-{name}.log" for name in profiles]
        assert [log.read_text().count("starts") for log in logs] == [1, 1]

    asyncio.run(work())


def test_a_profile_that_crashes_after_each_start_is_given_up_and_its_jobs_go_to_the_next_model(
    redis_url: str, tmp_path: Path
) -> None:
    profiles = {"alpha": {"vram_gb": 10, "flags": {"die-after": 0}}, "small": {"vram_gb": 4}}

    async def work() -> None:
        async with running_sidecar(tmp_path, profiles, vram_gb=16, restarts=1, token="t") as sidecar:
            backend = Backend(url=sidecar.url, pool="gpu", slots=4, vram_gb=16, loader="sidecar", api_key="t")
            models = {
                name: ModelSpec(upstream=name, backends=("tower",), vram_gb=more["vram_gb"], load_time=0.3)
                for name, more in profiles.items()
            }
            catalog = Catalog(backends={"tower": backend}, models=models)
            async with running_fleet(redis_url, tmp_path, catalog, "gpu") as fleet:
                jobs = [await fleet.accept(f"job-{n:05}", ("alpha", "small"), Urgency.BATCH) for n in range(3)]
                for job in jobs:
                    await fleet.until(job, "done")
                    assert await fleet.link.command("HGET", f"of:job:{job}", "status") == b"answered"
                async with asyncio.timeout(60):
                    while (model := (await fetch_model_status(fleet.link, catalog))[0]).blocked is None:
                        await asyncio.sleep(0.05)
                (at_tower,) = model.backends
                assert at_tower.load_state is LoadState.ERROR
                assert "crash" in at_tower.why
        assert (tmp_path / ".openfall/log/profile-alpha.log").read_text().count("starts") <= 2 * (1 + 1)

    asyncio.run(work())
