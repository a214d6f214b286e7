"""A fleet whose card has a sidecar: real Valkey, real HTTP, and look-alikes of llama-server as processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.entries import Backend, ModelSpec
from openfall.router_core.vocabulary import Urgency
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
