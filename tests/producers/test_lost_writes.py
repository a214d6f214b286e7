"""A power cut takes the end of the append-only file, in mid-record. Redis starts without its last writes."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from openfall import AsyncOpenfall, LostJob
from openfall.producers.client_store import ClientStore
from openfall.router_core.state import job_events, keys
from openfall.router_core.state.errors import UnknownJob
from tests.faults import COMPLETION, answer, fault_server
from tests.producers.test_outage import ANSWER, configured, worker
from tests.valkey_server import Server

KEPT, LOST = "kept-00001", "lost-00001"
LINE = '{"custom_id": "a", "body": {"messages": [{"role": "user", "content": "hello"}]}}\n'


@pytest.fixture(autouse=True)
def _polls_are_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "POLL_INTERVAL_SECONDS", 0.05)


def append_only_file(server: Server) -> Path:
    (path,) = (server.home / "appendonlydir").glob("*.incr.aof")
    return path


async def cut_power(server: Server, size: int) -> None:
    """Kill the server, cut its file at `size`, and start it again."""
    server.kill()
    assert append_only_file(server).stat().st_size > size
    os.truncate(append_only_file(server), size)
    await asyncio.to_thread(server.start)


async def is_known(client: ClientStore, job_id: str) -> bool:
    try:
        await client.jobs.record(job_id)
    except UnknownJob:
        return False
    return True


@pytest.mark.parametrize("kept_bytes", [0, 5, 100, 1000])
def test_a_caller_who_waits_has_the_answer_of_a_job_that_redis_has_lost(
    server: Server, tmp_path: Path, kept_bytes: int
) -> None:
    """`kept_bytes`: of the records of the job, which are more than that."""

    async def main() -> None:
        async with (
            fault_server(answer(COMPLETION)) as upstream,
            AsyncOpenfall(config=configured(tmp_path, server.url, upstream.url)) as llm,
        ):
            await llm.submit("hello", role="chat", urgency="batch", id=KEPT)
            size = append_only_file(server).stat().st_size
            caller = asyncio.create_task(llm.ask("hello", role="chat", urgency="batch", id=LOST))
            while not await is_known(llm.store, LOST):
                await asyncio.sleep(0.01)
            await cut_power(server, size + kept_bytes)
            async with worker(tmp_path, "gpu"):
                assert (await caller).text == ANSWER
                assert (await llm.wait(KEPT)).text == ANSWER

    asyncio.run(asyncio.wait_for(main(), 180))


def openfall(tmp_path: Path, *args: str) -> Awaitable[Process]:
    command = (sys.executable, "-m", "openfall.producers.cli")
    config = ("--config", str(tmp_path / "openfall.yaml"))
    return asyncio.create_subprocess_exec(*command, *args, *config, stdout=PIPE, stderr=PIPE)


def test_each_waiter_of_a_lost_job_learns_of_it_or_submits_it_again(server: Server, tmp_path: Path) -> None:
    """Nothing had claimed the job. A wait in a program raises; commands go on by themselves."""
    (tmp_path / "in.jsonl").write_text(LINE)
    batch = ("batch", "run", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "-r", "chat")

    async def main() -> None:
        async with (
            fault_server(answer(COMPLETION)) as upstream,
            AsyncOpenfall(config=configured(tmp_path, server.url, upstream.url)) as llm,
        ):
            await llm.submit("hello", role="chat", urgency="batch", id=KEPT)
            size = append_only_file(server).stat().st_size
            receipt = await llm.submit("hello", role="chat", urgency="batch", id=LOST)
            waits = [asyncio.create_task(llm.wait(receipt)), asyncio.create_task(llm.wait(LOST)),
                     asyncio.create_task(read_all(llm.stream(LOST)))]  # fmt: skip
            commands = [await openfall(tmp_path, "ask", "x", "-r", "chat", "-u", "batch"),
                        await openfall(tmp_path, *batch)]  # fmt: skip
            while await llm.store.connection.command("ZCARD", keys.UNFINISHED) < 4:
                await asyncio.sleep(0.05)
            await cut_power(server, size)
            for wait in waits:
                with pytest.raises(LostJob, match=f"job {LOST} was accepted, and Redis no longer knows it"):
                    await wait
            async with worker(tmp_path, "gpu"):
                ended = [(await command.communicate(), command.returncode) for command in commands]
        assert [code for _, code in ended] == [0, 0], ended
        (printed, notes), (_, counts) = (output for output, _ in ended)
        assert ANSWER in printed.decode()
        assert (b"Redis has lost job" in notes, b"1 are submitted again" in counts) == (True, True)
        assert ANSWER in (tmp_path / "out.jsonl").read_text()

    asyncio.run(asyncio.wait_for(main(), 180))


async def read_all(events: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event async for event in events]


def test_a_job_that_disappears_while_redis_runs_is_unknown(server: Server, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncOpenfall(config=configured(tmp_path, server.url, "http://127.0.0.1:9")) as llm:
            caller = asyncio.create_task(llm.ask("hello", role="chat", urgency="batch", id=LOST))
            while not await is_known(llm.store, LOST):
                await asyncio.sleep(0.01)
            await llm.store.connection.command("FLUSHALL")
            with pytest.raises(UnknownJob):
                await caller

    asyncio.run(asyncio.wait_for(main(), 180))
