"""A worker that an operator keeps from further jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from openfall.producers.client import AsyncOpenfall
from openfall.producers.operations.operator import Operator
from openfall.producers.operations.worker_orders import order_worker
from openfall.router_core.state.audit_log import read_entries
from openfall.router_core.state.fleet_status import WorkerStatus, fetch_status
from openfall.router_core.state.redis_connection import RedisConnection
from tests.faults import COMPLETION, answer, fault_server
from tests.producers.gateway.running_gateway import gateway_config
from tests.worker_harness import running_fleet


async def _worker(link: RedisConnection) -> WorkerStatus:
    (worker,) = (await fetch_status(link)).workers
    return worker


async def _until(link: RedisConnection, condition: str) -> None:
    async with asyncio.timeout(60):
        while (await _worker(link)).condition != condition:
            await asyncio.sleep(0.02)


def test_a_quiet_worker_claims_nothing_and_says_so_until_it_may_again(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with fault_server(answer(COMPLETION)) as upstream:
            loaded = gateway_config(redis_url, tmp_path, upstream.url)
            async with (
                running_fleet(redis_url, tmp_path, loaded.catalog, "gpu") as fleet,
                AsyncOpenfall(config=loaded) as llm,
            ):
                operator, name = Operator(llm, "me", "cli"), (await _worker(fleet.link)).name
                async with asyncio.timeout(60):
                    while not await order_worker(operator, name, "quiet"):  # it listens a moment after it registers
                        await asyncio.sleep(0.02)
                await _until(fleet.link, "quiet")
                job = await llm.submit("Haruka waves", role="scene")
                waiting = (await llm.record(job.id)).state
                await order_worker(operator, name, "resume")
                result = await llm.wait(job.id, 30)
                newest = (await read_entries(fleet.link, 1))[0]
        assert waiting == "queued"
        assert result.answered
        assert (newest.action, newest.subject, newest.actor) == ("worker.resume", name, "me")

    asyncio.run(main())
