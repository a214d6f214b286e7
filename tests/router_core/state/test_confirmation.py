"""`durability: fsync`: a job is accepted when it is on the disk of Redis, and on those of its replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from openfall.router_core.catalog.redis_server import Durability, RedisServer
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.errors import NotConfirmed, StoreRefused
from openfall.router_core.state.jobs import JobStore, Receipt, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from tests.valkey_server import Server, temporary_server

TERMS = SubmitTerms(queue="gpu.smol.background", expires_after_seconds=60, keep_seconds=60)


def on_disk(url: str, **keys: Any) -> RedisServer:
    return RedisServer(url=url, durability=Durability.FSYNC, confirm_timeout=0.2, **keys)


def a_job(number: int) -> CompletionJob:
    return CompletionJob(id=f"job-{number:06}", producer="me", chain=("smol",), body={"messages": []})


def accepting(server: RedisServer, story: Callable[[RedisConnection, JobStore], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with RedisConnection(server) as link:
            return await story(link, JobStore(link))

    return asyncio.run(run())


def confirmations(server: Server) -> int:
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        return int(client.hget("of:counters", "confirmations") or 0)


def test_jobs_that_are_accepted_together_are_confirmed_together_and_survive_a_kill(server: Server) -> None:
    async def story(link: RedisConnection, jobs: JobStore) -> None:
        await link.load("accept")
        receipts = await jobs.accept_many((a_job(number), TERMS) for number in range(200))
        assert all(isinstance(receipt, Receipt) for receipt in receipts)

    accepting(on_disk(server.url), story)
    assert 1 <= confirmations(server) <= 5
    server.kill()
    server.start()
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        assert client.llen("rq:queue:gpu.smol.background") == 200


def test_without_enough_replicas_the_caller_learns_that_the_job_is_in_but_not_confirmed(server: Server) -> None:
    async def story(link: RedisConnection, jobs: JobStore) -> None:
        with pytest.raises(NotConfirmed, match=r"job-000001 is accepted but not confirmed.*0 of 1 replicas") as raised:
            await jobs.accept(a_job(1), TERMS)
        assert (raised.value.job_id, raised.value.on_disk, raised.value.on_replicas) == ("job-000001", 1, 0)
        assert (await jobs.record("job-000001")).state == "queued"

    accepting(on_disk(server.url, confirm_replicas=1), story)
    receipt = accepting(on_disk(server.url), lambda _, jobs: jobs.accept(a_job(1), TERMS))
    assert (receipt.id, receipt.position) == ("job-000001", 1)


def test_a_job_that_is_sent_again_is_not_confirmed_before_it_is_on_the_disk(redis_url: str) -> None:
    """The second submission writes nothing of the job, and still waits for the first."""
    with redis.Redis.from_url(redis_url) as client:
        accepting(RedisServer(url=redis_url), lambda _, jobs: jobs.accept(a_job(1), TERMS))
        accepting(
            on_disk(redis_url).model_copy(update={"confirm_timeout": 5.0}), lambda _, jobs: jobs.accept(a_job(1), TERMS)
        )
        info = client.info("persistence")
    assert info["aof_pending_bio_fsync"] == 0
    assert info["aof_buffer_length"] == 0


def test_a_server_without_an_append_only_file_is_refused_with_the_remedy_before_a_job_is_in() -> None:
    async def story(link: RedisConnection, jobs: JobStore) -> None:
        with pytest.raises(StoreRefused, match="needs `appendonly yes`"):
            await link.command("PING")
        with pytest.raises(StoreRefused, match="needs `appendonly yes`"):
            await jobs.accept(a_job(1), TERMS)

    with temporary_server("--appendonly", "no") as server:
        accepting(on_disk(server.url), story)
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            assert client.dbsize() == 0


def test_a_job_is_accepted_but_not_confirmed_when_the_append_only_file_is_switched_off_later(server: Server) -> None:
    async def story(link: RedisConnection, jobs: JobStore) -> None:
        await jobs.accept(a_job(1), TERMS)
        await link.command("CONFIG", "SET", "appendonly", "no")
        with pytest.raises(NotConfirmed, match="job-000002 is accepted but not confirmed") as raised:
            await jobs.accept(a_job(2), TERMS)
        assert (raised.value.on_disk, raised.value.on_replicas) == (0, 0)
        assert (await jobs.record("job-000002")).state == "queued"

    accepting(on_disk(server.url), story)


def test_everysec_sends_no_command_more(redis_url: str) -> None:
    async def story(link: RedisConnection, jobs: JobStore) -> int:
        await jobs.accept(a_job(1), TERMS)
        before = link.round_trips
        await jobs.accept(a_job(2), TERMS)
        return link.round_trips - before

    assert accepting(RedisServer(url=redis_url), story) == 1
    with redis.Redis.from_url(redis_url) as client:
        assert not client.hexists("of:counters", "confirmations")
