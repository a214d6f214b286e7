"""Everything stands still for a while, as on a laptop that sleeps: no call in flight is made again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from openfall import AsyncOpenfall
from openfall.config import load
from openfall.router_core.state import keys
from openfall.workers.backends.awake_time import GRACE_SECONDS, STOPPED_SECONDS, TICK_SECONDS, AwakeTime
from tests.faults import COMPLETION, answer, fault_server
from tests.valkey_server import Server
from tests.worker_harness import worker_command
from tests.workers.backends.protocol_clients import adapter

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
redis: {redis}
data: {data}
pools: {{gpu: {{local: yes}}}}
backends: {{rack: {{protocol: openai, url: "{upstream}", pool: gpu, slots: 8}}}}
models: {{tiny: {{upstream: tiny-1, backends: [rack], timeout: 4.5}}}}
roles: {{chat: {{chain: [tiny]}}}}
"""
STANDSTILL_SECONDS = 5.0
"""Longer than the timeout of a call, and than the two missed beats that end a silence."""


def test_a_standstill_does_not_count() -> None:
    clock = AwakeTime(100.0)
    assert clock.read(101.0) == 101.0
    assert clock.read(161.0) == 101.0 + TICK_SECONDS
    assert clock.read(162.0) == 102.0 + TICK_SECONDS


def test_a_busy_machine_is_no_standstill() -> None:
    clock = AwakeTime(100.0)
    assert clock.read(100.0 + STOPPED_SECONDS) == 100.0 + STOPPED_SECONDS
    assert clock.limits_from == 100.0


def test_no_limit_is_reached_right_after_a_standstill() -> None:
    clock = AwakeTime(100.0)
    waked = clock.read(160.0)
    assert clock.limits_from == waked + GRACE_SECONDS


@asynccontextmanager
async def working(config: Path) -> AsyncIterator[Process]:
    with (config.parent / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *worker_command("gpu", config),
            cwd=ROOT,
            stdout=PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        assert process.stdout is not None
        assert b"ready" in await process.stdout.readline()
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("first", "urgency"), [("the worker", "interactive"), ("Valkey", "background")])
def test_a_call_whose_answer_is_on_its_way_after_a_silence_of_all_is_waited_for(
    server: Server, tmp_path: Path, first: str, urgency: str
) -> None:
    calls: Counter[str] = Counter()
    all_called, waked = asyncio.Event(), asyncio.Event()

    async def answer_after_the_standstill(writer: asyncio.StreamWriter) -> None:
        calls["made"] += 1
        if calls["made"] == 4:
            all_called.set()
        await waked.wait()
        await answer(COMPLETION)(writer)

    async def main() -> None:
        assert server.process is not None
        async with fault_server(answer_after_the_standstill) as upstream:
            config = tmp_path / "openfall.yaml"
            config.write_text(CONFIG.format(redis=server.url, data=tmp_path / "data", upstream=upstream.url))
            async with working(config) as worker, AsyncOpenfall(config=load(config)) as client:
                jobs = [await client.submit(f"prompt {number}", urgency=urgency) for number in range(4)]
                await all_called.wait()
                stopped = [worker, server.process] if first == "the worker" else [server.process, worker]
                for process in stopped:
                    process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(STANDSTILL_SECONDS)
                for process in stopped:
                    process.send_signal(signal.SIGCONT)
                async with redis.asyncio.Redis.from_url(server.url) as store:
                    beat = await store.get(keys.LAST_BEAT)
                    while await store.get(keys.LAST_BEAT) == beat:
                        await asyncio.sleep(0.02)
                waked.set()
                results = [await client.wait(job) for job in jobs]
            assert [str(result.status) for result in results] == ["answered"] * 4
            assert calls["made"] == 4

    asyncio.run(asyncio.wait_for(main(), 180))


def test_a_probe_in_flight_outlives_a_standstill() -> None:
    waked = asyncio.Event()

    async def answer_after_the_standstill(writer: asyncio.StreamWriter) -> None:
        await waked.wait()
        await answer({"data": [{"id": "tiny"}]})(writer)

    async def main() -> None:
        async with fault_server(answer_after_the_standstill) as upstream, adapter("openai", upstream.url) as backend:
            probe = asyncio.create_task(backend.list_models(STOPPED_SECONDS))
            await upstream.arrived.wait()
            time.sleep(STOPPED_SECONDS + 0.2)  # noqa: ASYNC251 - the whole process stands still
            asyncio.get_running_loop().call_later(TICK_SECONDS / 5, waked.set)
            assert await probe == ("tiny",)

    asyncio.run(asyncio.wait_for(main(), 180))
