"""Connections that break, in the event loop of the workers and in that of the standard library."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_pool import open_redis

TIMEOUT_SECONDS = 20


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_command_after_a_failover_closed_the_connection_gets_its_reply(redis_url, loop_factory):
    async def story() -> None:
        async with RedisConnection(redis_url) as link, asyncio.timeout(TIMEOUT_SECONDS):
            for number in range(3):
                assert await link.command("ECHO", str(number)) == str(number).encode()
                link._connection._writer.transport.abort()  # noqa: SLF001 - as a failover or a reset does

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(story())


def test_a_client_that_blocks_reports_a_closed_transport_as_a_lost_connection(redis_url):
    async def story() -> None:
        client = open_redis(redis_url, block=1)
        connection = await client.connection_pool.get_connection()
        connection._writer.transport.abort()  # noqa: SLF001 - as a failover or a reset does
        await asyncio.sleep(0)
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING")
        await client.connection_pool.release(connection)
        await client.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_command_whose_connection_another_task_ends_meanwhile_reports_a_lost_connection(redis_url, loop_factory):
    """A subscription is read in one task, which ends the connection, while another one subscribes."""

    async def story() -> object:
        client = open_redis(redis_url, block=1)
        connection = await client.connection_pool.get_connection()
        sending = asyncio.create_task(connection.send_command("PING"))
        await asyncio.sleep(0)
        await connection.disconnect(nowait=True)
        (outcome,) = await asyncio.gather(sending, return_exceptions=True)
        await client.connection_pool.release(connection)
        await client.aclose()
        return outcome

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        outcome = runner.run(story())
    assert outcome is None or type(outcome) is RedisConnectionError  # from Python 3.12 on, the command goes out first
