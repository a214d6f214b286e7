"""An inbox repeats every delivery until it is acknowledged."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from openfall import AsyncOpenfall, BadRequest, Openfall
from openfall.config import LoadedConfig
from openfall.producers.inbox_delivery import InboxDelivery
from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import inbox as state_inbox
from openfall.router_core.vocabulary import HoldReason, Remedy
from tests.producers.clients import run

ROOT = Path(__file__).resolve().parents[2]
TEXT = {"choices": [{"message": {"role": "assistant", "content": "here you are"}}]}


async def read(
    llm: AsyncOpenfall, count: int, *, ack: bool = True, reader: str | None = None
) -> list[InboxDelivery[Awaitable[None]]]:
    """The first `count` deliveries of the inbox."""
    deliveries: list[InboxDelivery[Awaitable[None]]] = []
    async with aclosing(llm.inbox("bot", reader=reader)) as entries:
        async for delivery in entries:
            deliveries.append(delivery)
            if ack:
                await delivery.ack()
            if len(deliveries) == count:
                return deliveries
    raise AssertionError("an inbox does not end")


async def answer_jobs(llm: AsyncOpenfall, number: int) -> list[str]:
    """Job ids with answers, in the order of the answers."""
    ids = []
    for n in range(number):
        job = await llm.submit(f"number {n}", inbox="bot", reply_to={"chat": n})
        await llm.wait(job)
        ids.append(job.id)
    return ids


def inbox_length(url: str) -> int:
    with redis.Redis.from_url(url) as store:
        return int(store.xlen("of:inbox:bot"))


def test_a_delivery_has_reply_to_and_leaves_the_inbox_when_acknowledged(
    loaded: LoadedConfig, answering: Any, redis_url: str
) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        ids = await answer_jobs(llm, 3)
        deliveries = await read(llm, 3)
        assert [delivery.job_id for delivery in deliveries] == ids
        assert [delivery.text for delivery in deliveries] == ["echo number 0", "echo number 1", "echo number 2"]
        assert [delivery.reply_to for delivery in deliveries] == [{"chat": 0}, {"chat": 1}, {"chat": 2}]
        assert all(delivery.final and not delivery.degraded and delivery.created_at > 1e9 for delivery in deliveries)

    run(loaded, use)
    assert inbox_length(redis_url) == 0


def test_unacknowledged_deliveries_come_first_after_a_restart(loaded: LoadedConfig, answering: Any) -> None:
    ids = run(loaded, lambda llm: answer_jobs(llm, 3))
    first = run(loaded, lambda llm: read(llm, 2, ack=False))
    again = run(loaded, lambda llm: read(llm, 3))
    assert [delivery.job_id for delivery in first] == ids[:2]
    assert [delivery.job_id for delivery in again] == ids


def test_a_running_reader_gets_each_delivery_once(loaded: LoadedConfig, answering: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("openfall.producers.inbox_delivery.RECLAIM_INTERVAL_SECONDS", 0.0)

    async def use(llm: AsyncOpenfall) -> list[str]:
        await answer_jobs(llm, 4)
        return [delivery.job_id for delivery in await read(llm, 4, ack=False)]

    job_ids = run(loaded, use)
    assert len(set(job_ids)) == 4


def test_two_readers_share_an_inbox(loaded: LoadedConfig, answering: Any, redis_url: str) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        ids = await answer_jobs(llm, 6)
        first, other = await asyncio.gather(read(llm, 3, reader="one"), read(llm, 3, reader="other"))
        assert sorted(delivery.job_id for delivery in (*first, *other)) == sorted(ids)

    run(loaded, use)
    assert inbox_length(redis_url) == 0


def test_deliveries_of_a_silent_reader_go_to_another_and_those_of_a_live_one_do_not(
    loaded: LoadedConfig, answering: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(state_inbox, "READER_TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr("openfall.producers.inbox_delivery.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("openfall.producers.inbox_delivery.RECLAIM_INTERVAL_SECONDS", 0.1)

    async def use(llm: AsyncOpenfall) -> None:
        dead_one, live_one, fresh = await answer_jobs(llm, 3)
        await read(llm, 1, ack=False, reader="dead")
        async with aclosing(llm.inbox("bot", reader="slow")) as slow:
            held = await anext(slow)
            assert held.job_id == live_one
            others = [delivery.job_id for delivery in await read(llm, 2, reader="other")]
            assert sorted(others) == sorted([dead_one, fresh])
            await held.ack()

    run(loaded, use)


def test_a_reader_survives_a_restart_of_redis_before_it_acknowledges(server: Any, loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        async with aclosing(llm.inbox("bot")) as entries:
            await add_entry(llm, "job-00001")
            first = await anext(entries)
            await asyncio.to_thread(server.kill)
            acknowledging = asyncio.create_task(first.ack())
            reading = asyncio.create_task(anext(entries))
            await asyncio.to_thread(server.start)
            await acknowledging
            await add_entry(llm, "job-00002")
            second = await reading
            assert (first.job_id, second.job_id) == ("job-00001", "job-00002")
            await second.ack()

    run(loaded, use, redis_url=server.url)
    assert inbox_length(server.url) == 0


async def add_entry(llm: AsyncOpenfall, job_id: str, **fields: Any) -> None:
    """An entry as the scripts write it."""
    packed = pack_result(Result(id=job_id, status=Status.ANSWERED, body=TEXT))
    fields = {"id": job_id, "kind": "done", "at": 1_800_000_000_000, "reply_to": "", "result": packed, **fields}
    await llm.store.connection.command("XADD", "of:inbox:bot", "*", *(part for pair in fields.items() for part in pair))


def test_a_reader_survives_the_deletion_of_its_inbox(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        async with aclosing(llm.inbox("bot")) as entries:
            await add_entry(llm, "job-00001")
            await (await anext(entries)).ack()
            reading = asyncio.create_task(anext(entries))
            await asyncio.sleep(0)
            await llm.store.connection.command("FLUSHALL")
            await add_entry(llm, "job-00002")
            assert (await reading).job_id == "job-00002"

    run(loaded, use)


def test_an_expired_entry_is_not_delivered_again(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        await add_entry(llm, "job-00001")
        await read(llm, 1, ack=False)
        await llm.store.connection.command("XTRIM", "of:inbox:bot", "MAXLEN", 0)
        await add_entry(llm, "job-00002")
        assert [delivery.job_id for delivery in await read(llm, 1)] == ["job-00002"]
        assert (await llm.store.connection.command("XPENDING", "of:inbox:bot", "readers"))[0] == 0

    run(loaded, use)


def test_an_entry_of_a_newer_version_stays_in_the_inbox_and_blocks_no_other(loaded: LoadedConfig, caplog: Any) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        await add_entry(llm, "job-00001", result=b'{"v":99}')
        await add_entry(llm, "job-00002")
        assert [delivery.job_id for delivery in await read(llm, 1)] == ["job-00002"]
        assert await llm.store.connection.command("XLEN", "of:inbox:bot") == 1

    run(loaded, use)
    assert "job job-00001 stays in the inbox" in caplog.text


def test_an_interim_reply_is_marked_as_degraded_and_not_final(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        held = Result(
            id="job-00001", status=Status.DEGRADED, body=TEXT, degraded_by=Remedy.CANNED_REPLY,
            held_for=HoldReason.OUTAGE,
        )  # fmt: skip
        await add_entry(llm, "job-00001", kind="degraded", result=pack_result(held))
        (delivery,) = await read(llm, 1)
        assert (delivery.text, delivery.degraded, delivery.final) == ("here you are", True, False)

    run(loaded, use)


def test_acknowledging_cuts_the_retention_of_a_result_to_that_of_others(
    loaded: LoadedConfig, answering: Any, redis_url: str
) -> None:
    (job_id,) = run(loaded, lambda llm: answer_jobs(llm, 1))
    with redis.Redis.from_url(redis_url) as store:
        store.expire(f"of:result:{job_id}", 604800)
        store.expire(f"of:job:{job_id}", 60)
        run(loaded, lambda llm: read(llm, 1))
        assert (
            loaded.settings.retention.results - 5
            < store.ttl(f"of:result:{job_id}")
            <= loaded.settings.retention.results
        )
        assert store.ttl(f"of:job:{job_id}") <= 60  # nothing is kept longer by being read


def test_the_sync_client_reads_an_inbox(loaded: LoadedConfig, answering: Any, redis_url: str) -> None:
    with Openfall(config=loaded) as llm:
        job = llm.submit("hello", inbox="bot", reply_to=7)
        for delivery in llm.inbox("bot"):
            assert (delivery.job_id, delivery.text, delivery.reply_to) == (job.id, "echo hello", 7)
            delivery.ack()
            break
    assert inbox_length(redis_url) == 0


def test_reading_an_inbox_checks_its_name(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        with pytest.raises(BadRequest, match="not the name of an inbox"):
            llm.inbox("no such: name")

    run(loaded, use)


@contextmanager
def bot(loaded: LoadedConfig, reader: str = "bot") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.producers.inbox_bot", str(loaded.settings.redis.url), str(loaded.source)]
    process = subprocess.Popen(
        [*command, reader], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": str(loaded.settings.redis.url)},
    )  # fmt: skip
    guard = threading.Timer(30, process.kill)
    guard.start()
    try:
        yield process
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[str], line: str | None = None) -> str:
    """The next line of the bot, after sending it `line`."""
    assert process.stdin is not None
    assert process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_bot_killed_before_ack_gets_the_delivery_again_and_no_other_twice(
    loaded: LoadedConfig, answering: Any, redis_url: str
) -> None:
    first, second = run(loaded, lambda llm: answer_jobs(llm, 2))
    with bot(loaded) as process:
        assert read_line(process).startswith(first)
        process.kill()
    with bot(loaded) as process:
        assert read_line(process).startswith(first)
        assert read_line(process, "ack") == "acknowledged"
        assert read_line(process).startswith(second)
        process.kill()
    with bot(loaded) as process:
        assert read_line(process) == f"{second} {{'chat': 1}} echo number 1"
        assert read_line(process, "ack") == "acknowledged"
    assert inbox_length(redis_url) == 0
