"""An inbox gives everything until it is acknowledged, and nothing after that."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from openfall import AsyncOpenfall, BadRequest, Openfall
from openfall.config import LoadedConfig
from openfall.producers.inbox import InboxDelivery
from openfall.router_core.jobs.envelope import pack_result
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state import inbox as inbox_of_state
from openfall.router_core.vocabulary import (
    HoldReason,
    Remedy,
)

ROOT = Path(__file__).resolve().parents[2]
TEXT = {"choices": [{"message": {"role": "assistant", "content": "here you are"}}]}


def run(loaded: LoadedConfig, use: Callable[[AsyncOpenfall], Coroutine[Any, Any, Any]], **told: Any) -> Any:
    async def main() -> Any:
        async with AsyncOpenfall(config=loaded, producer="bot@here", **told) as llm:
            return await asyncio.wait_for(use(llm), 30)

    return asyncio.run(main())


async def taken(
    llm: AsyncOpenfall, most: int, *, ack: bool = True, reader: str | None = None
) -> list[InboxDelivery[Awaitable[None]]]:
    """The first so many of the inbox."""
    found: list[InboxDelivery[Awaitable[None]]] = []
    async with aclosing(llm.inbox("bot", reader=reader)) as entries:
        async for one in entries:
            found.append(one)
            if ack:
                await one.ack()
            if len(found) == most:
                return found
    raise AssertionError("an inbox does not end")


async def answered(llm: AsyncOpenfall, number: int) -> list[str]:
    """Jobs with answers, in the order of their answers."""
    ids = []
    for n in range(number):
        job = await llm.submit(f"number {n}", inbox="bot", reply_to={"chat": n})
        await llm.wait(job)
        ids.append(job.id)
    return ids


def left(url: str) -> int:
    with redis.Redis.from_url(url) as store:
        return int(store.xlen("of:inbox:bot"))


def test_what_came_of_a_job_arrives_with_its_address_and_is_gone_when_it_is_acknowledged(
    loaded: LoadedConfig, answering: Any, redis_url: str
) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        ids = await answered(llm, 3)
        found = await taken(llm, 3)
        assert [one.job_id for one in found] == ids
        assert [one.text for one in found] == ["echo number 0", "echo number 1", "echo number 2"]
        assert [one.reply_to for one in found] == [{"chat": 0}, {"chat": 1}, {"chat": 2}]
        assert all(one.final and not one.degraded and one.created_at > 1e9 for one in found)

    run(loaded, use)
    assert left(redis_url) == 0


def test_what_was_not_acknowledged_is_given_again_first_after_a_restart(loaded: LoadedConfig, answering: Any) -> None:
    ids = run(loaded, lambda llm: answered(llm, 3))
    first = run(loaded, lambda llm: taken(llm, 2, ack=False))
    again = run(loaded, lambda llm: taken(llm, 3))
    assert [one.job_id for one in first] == ids[:2]
    assert [one.job_id for one in again] == ids


def test_nothing_is_given_twice_to_one_reader_while_it_runs(
    loaded: LoadedConfig, answering: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("openfall.producers.inbox.RECLAIM_INTERVAL_SECONDS", 0.0)

    async def use(llm: AsyncOpenfall) -> list[str]:
        await answered(llm, 4)
        return [one.job_id for one in await taken(llm, 4, ack=False)]

    found = run(loaded, use)
    assert len(set(found)) == 4


def test_two_readers_share_an_inbox(loaded: LoadedConfig, answering: Any, redis_url: str) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        ids = await answered(llm, 6)
        one, other = await asyncio.gather(taken(llm, 3, reader="one"), taken(llm, 3, reader="other"))
        assert sorted(found.job_id for found in (*one, *other)) == sorted(ids)

    run(loaded, use)
    assert left(redis_url) == 0


def test_what_a_silent_reader_has_goes_to_another_and_what_a_live_one_has_does_not(
    loaded: LoadedConfig, answering: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(inbox_of_state, "READER_TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr("openfall.producers.inbox.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr("openfall.producers.inbox.RECLAIM_INTERVAL_SECONDS", 0.1)

    async def use(llm: AsyncOpenfall) -> None:
        dead_one, live_one, fresh = await answered(llm, 3)
        await taken(llm, 1, ack=False, reader="dead")
        async with aclosing(llm.inbox("bot", reader="slow")) as slow:
            held = await anext(slow)
            assert held.job_id == live_one
            others = [one.job_id for one in await taken(llm, 2, reader="other")]
            assert sorted(others) == sorted([dead_one, fresh])
            await held.ack()

    run(loaded, use)


def test_an_inbox_bears_a_restart_of_redis_between_receipt_and_acknowledgement(
    server: Any, loaded: LoadedConfig
) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        async with aclosing(llm.inbox("bot")) as entries:
            await put(llm, "job-00001")
            first = await anext(entries)
            await asyncio.sleep(1.1)  # what was written is on disk within a second: appendfsync everysec
            await asyncio.to_thread(server.kill)
            acknowledging = asyncio.create_task(first.ack())
            reading = asyncio.create_task(anext(entries))
            await asyncio.to_thread(server.start)
            await acknowledging
            await put(llm, "job-00002")
            second = await reading
            assert (first.job_id, second.job_id) == ("job-00001", "job-00002")
            await second.ack()

    run(loaded, use, redis_url=server.url)
    assert left(server.url) == 0


async def put(llm: AsyncOpenfall, job_id: str, **fields: Any) -> None:
    """An entry as the scripts write it."""
    packed = pack_result(Result(id=job_id, status=Status.ANSWERED, body=TEXT))
    told = {"id": job_id, "kind": "done", "at": 1_800_000_000_000, "reply_to": "", "result": packed, **fields}
    await llm.store.connection.command("XADD", "of:inbox:bot", "*", *(part for pair in told.items() for part in pair))


def test_an_inbox_that_was_emptied_under_its_reader_goes_on(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        async with aclosing(llm.inbox("bot")) as entries:
            await put(llm, "job-00001")
            await (await anext(entries)).ack()
            reading = asyncio.create_task(anext(entries))
            await asyncio.sleep(0)
            await llm.store.connection.command("FLUSHALL")
            await put(llm, "job-00002")
            assert (await reading).job_id == "job-00002"

    run(loaded, use)


def test_what_passed_its_time_before_it_was_acknowledged_is_not_given_again(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        await put(llm, "job-00001")
        await taken(llm, 1, ack=False)
        await llm.store.connection.command("XTRIM", "of:inbox:bot", "MAXLEN", 0)
        await put(llm, "job-00002")
        assert [one.job_id for one in await taken(llm, 1)] == ["job-00002"]
        assert (await llm.store.connection.command("XPENDING", "of:inbox:bot", "readers"))[0] == 0

    run(loaded, use)


def test_what_a_newer_openfall_wrote_stays_there_and_holds_nobody_up(loaded: LoadedConfig, caplog: Any) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        await put(llm, "job-00001", result=b'{"v":99}')
        await put(llm, "job-00002")
        assert [one.job_id for one in await taken(llm, 1)] == ["job-00002"]
        assert await llm.store.connection.command("XLEN", "of:inbox:bot") == 1

    run(loaded, use)
    assert "job job-00001 stays in the inbox" in caplog.text


def test_an_interim_reply_says_that_it_is_none_to_keep(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        held = Result(
            id="job-00001", status=Status.DEGRADED, body=TEXT, degraded_by=Remedy.CANNED_REPLY,
            held_for=HoldReason.OUTAGE,
        )  # fmt: skip
        await put(llm, "job-00001", kind="degraded", result=pack_result(held))
        (one,) = await taken(llm, 1)
        assert (one.text, one.degraded, one.final) == ("here you are", True, False)

    run(loaded, use)


def test_a_result_that_was_kept_for_its_reader_is_kept_no_longer_than_others_once_it_is_read(
    loaded: LoadedConfig, answering: Any, redis_url: str
) -> None:
    (job_id,) = run(loaded, lambda llm: answered(llm, 1))
    with redis.Redis.from_url(redis_url) as store:
        store.expire(f"of:result:{job_id}", 604800)
        store.expire(f"of:job:{job_id}", 60)
        run(loaded, lambda llm: taken(llm, 1))
        assert (
            loaded.settings.retention.results - 5
            < store.ttl(f"of:result:{job_id}")
            <= loaded.settings.retention.results
        )
        assert store.ttl(f"of:job:{job_id}") <= 60  # nothing is kept longer by being read


def test_the_blocking_client_reads_an_inbox_too(loaded: LoadedConfig, answering: Any, redis_url: str) -> None:
    with Openfall(config=loaded) as llm:
        job = llm.submit("hello", inbox="bot", reply_to=7)
        for one in llm.inbox("bot"):
            assert (one.job_id, one.text, one.reply_to) == (job.id, "echo hello", 7)
            one.ack()
            break
    assert left(redis_url) == 0


def test_the_name_of_an_inbox_is_checked_before_it_is_read(loaded: LoadedConfig) -> None:
    async def use(llm: AsyncOpenfall) -> None:
        with pytest.raises(BadRequest, match="not the name of an inbox"):
            llm.inbox("no such: name")

    run(loaded, use)


@contextmanager
def bot(loaded: LoadedConfig, reader: str = "bot") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.producers.inbox_bot", str(loaded.settings.redis_url), str(loaded.source)]
    process = subprocess.Popen(
        [*command, reader], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": str(loaded.settings.redis_url)},
    )  # fmt: skip
    guard = threading.Timer(30, process.kill)
    guard.start()
    try:
        yield process
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str], line: str | None = None) -> str:
    """The next line of a bot, which is told `line` first."""
    assert process.stdin is not None
    assert process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_bot_that_is_killed_between_receipt_and_acknowledgement_gets_it_again_and_nothing_twice_after(
    loaded: LoadedConfig, answering: Any, redis_url: str
) -> None:
    first, second = run(loaded, lambda llm: answered(llm, 2))
    with bot(loaded) as process:
        assert said(process).startswith(first)
        process.kill()
    with bot(loaded) as process:
        assert said(process).startswith(first)
        assert said(process, "ack") == "acknowledged"
        assert said(process).startswith(second)
        process.kill()
    with bot(loaded) as process:
        assert said(process) == f"{second} {{'chat': 1}} echo number 1"
        assert said(process, "ack") == "acknowledged"
    assert left(redis_url) == 0
