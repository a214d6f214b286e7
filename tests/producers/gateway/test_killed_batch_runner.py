"""A batch whose gateway is killed at one step of its runner after the other: real processes, SIGKILL."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import find_free_port
from openfall.router_core.state import keys
from tests.chaos import dying_gateway
from tests.faults import COMPLETION, answer, fault_server
from tests.producers.gateway.running_gateway import gateway_config
from tests.producers.gateway.test_batches import CHAT, chats
from tests.worker_harness import running_fleet

pytestmark = pytest.mark.slow

LINES = 120
STEPS = ("within a write", "before batch_ack", "before batch_end", "after batch_end")
WITHIN_SECONDS = 120.0
"""On a busy machine each start of a gateway takes seconds."""


PROCESSES = multiprocessing.get_context("forkserver")
"""One process imports the gateway and each gateway is a fork of it: the imports are most of its start."""
PROCESSES.set_forkserver_preload([dying_gateway.__name__])


@asynccontextmanager
async def open_dying_gateway(home: Path, step: str) -> AsyncIterator[tuple[ForkServerProcess, httpx.AsyncClient]]:
    """A gateway that kills itself at the first such step."""
    address = f"127.0.0.1:{find_free_port()}"
    file = home / "dying.yaml"
    file.write_text(f'{(home / "openfall.yaml").read_text()}\ngateway: {{listen: ["{address}"]}}\n')
    arguments = (step, str(home / "faults"), "--config", str(file), "--quiet")
    process = PROCESSES.Process(target=dying_gateway.run, args=(arguments,))
    process.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as http:
            yield process, http
    finally:
        process.kill()
        await asyncio.to_thread(process.join)


async def reply(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
    """The JSON of a gateway that may not serve yet."""
    while True:
        try:
            return (await http.request(method, path, **options)).json()
        except httpx.ConnectError:
            await asyncio.sleep(0.02)


def test_each_line_is_in_one_file_and_bought_once_though_the_gateway_is_killed_at_steps_of_its_runner(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> tuple[Any, list[Any], int]:
        async with fault_server(answer(COMPLETION)) as upstream:
            loaded = gateway_config(redis_url, tmp_path, upstream.url)
            async with running_fleet(redis_url, tmp_path, loaded.catalog, "gpu", "degrade") as fleet:
                async with open_dying_gateway(tmp_path, "never") as (_, http):
                    form: Any = {"files": {"file": ("in", "\n".join(chats(LINES)).encode())}}
                    file = await reply(http, "POST", "/v1/files", data={"purpose": "batch"}, **form)
                    body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
                    batch = await reply(http, "POST", "/v1/batches", json=body)
                directory = (tmp_path / ".openfall" / "files" / "directory-id").read_text()
                for step in STEPS:
                    await fleet.link.command("ZADD", keys.OPEN_BATCHES + directory, "XX", 0, batch["id"])
                    async with open_dying_gateway(tmp_path, step) as (process, _):
                        await asyncio.to_thread(process.join)
                        assert process.exitcode == -signal.SIGKILL
                async with open_dying_gateway(tmp_path, "never") as (_, http):
                    batch = await reply(http, "GET", f"/v1/batches/{batch['id']}")
                    content = await http.get(f"/v1/files/{batch['output_file_id']}/content")
            return batch, [json.loads(row) for row in content.text.splitlines()], len(upstream.calls_received)

    batch, output, bought = asyncio.run(asyncio.wait_for(main(), WITHIN_SECONDS))
    died_at = [json.loads(row)["step"] for row in (tmp_path / "faults").read_text().splitlines()]
    assert died_at == list(STEPS)
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    assert sorted(row["custom_id"] for row in output) == sorted(f"line-{number}" for number in range(LINES))
    assert bought == LINES
