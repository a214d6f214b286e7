"""Three real Sentinels: connections find the primary, follow it, and leave a server that is none any more."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state.errors import StoreError, StoreRefused, StoreUnreachable
from openfall.router_core.state.job_events import EventHub
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_pool import REPLY_TIMEOUT_SECONDS
from tests.sentinel_group import SentinelGroup

pytestmark = pytest.mark.slow

HEARTBEAT = {"inbox": "x", "group": "g", "reader": "r", "limit": 5, "after": "-"}


@pytest.fixture(scope="module")
def group_of_module() -> Iterator[SentinelGroup]:
    with tempfile.TemporaryDirectory(prefix="of-") as home:
        own = SentinelGroup(Path(home))
        try:
            yield own.start()
        finally:
            own.close()


@pytest.fixture
def group(group_of_module: SentinelGroup) -> SentinelGroup:
    """With a primary and two replicas, whatever the test before did."""
    group_of_module.wait_for_replicas(2)
    return group_of_module


async def persist(step: Callable[[], Awaitable[Any]]) -> list[StoreError]:
    """Repeat a step until Redis takes it. The errors before that."""
    errors: list[StoreError] = []
    async with asyncio.timeout(60):
        while True:
            try:
                await step()
            except StoreUnreachable as error:
                errors.append(error)
                await asyncio.sleep(0.05)
            else:
                return errors


async def eventually(step: Callable[[], Awaitable[Any]]) -> Any:
    """The reply to a step, once Redis takes it: until all Sentinels have the news, one may name a former primary."""
    replies: list[Any] = []

    async def keep() -> None:
        replies.append(await step())

    await persist(keep)
    return replies[0]


async def until_replicas_have_scripts(group: SentinelGroup, primary: int) -> None:
    """Replication is asynchronous: a primary that is killed at once takes its scripts with it."""
    async with asyncio.timeout(60):
        for port in group.servers.keys() - {primary}:
            with group.client(port) as replica:
                while not replica.execute_command("FUNCTION LIST"):
                    await asyncio.sleep(0.02)


def test_after_a_kill_of_the_primary_the_next_commands_reach_the_new_one_which_has_the_scripts(group) -> None:
    async def story() -> None:
        async with RedisConnection(group.server) as link:
            await eventually(lambda: link.script("inbox_heartbeat", HEARTBEAT))
            old = group.primary()
            await until_replicas_have_scripts(group, old)
            group.kill(old)
            errors = await persist(lambda: link.command("SET", "after", "kill"))
            assert all(f"{old}" in str(error) for error in errors)
            new = group.wait_for_failover(old)
            with group.client(new) as client:
                assert client.get("after") == "kill"
                assert client.execute_command("FUNCTION LIST")
            await eventually(lambda: link.script("inbox_heartbeat", HEARTBEAT))
            group.start_server(old, replica_of=new)

    asyncio.run(story())


def test_a_frozen_primary_holds_no_command_longer_than_the_failover_and_serves_nothing_when_it_wakes(group) -> None:
    async def story() -> None:
        async with RedisConnection(group.server) as link:
            held: list[float] = []

            async def write() -> None:
                began = asyncio.get_running_loop().time()
                try:
                    await link.command("SET", "frozen", "during")
                finally:
                    held.append(asyncio.get_running_loop().time() - began)

            await eventually(lambda: link.command("SET", "frozen", "before"))
            old = group.primary()
            group.send(old, signal.SIGSTOP)
            try:
                await persist(write)
                assert max(held) < 2 * REPLY_TIMEOUT_SECONDS + 5
            finally:
                group.send(old, signal.SIGCONT)
            for _ in range(50):
                assert await eventually(lambda: link.command("GET", "frozen")) == b"during"
            assert group.wait_for_failover(old) != old

    asyncio.run(story())


def test_a_subscription_follows_the_primary(group) -> None:
    async def story() -> None:
        hub = EventHub(group.server)
        async with hub.subscribe("job"):
            old = group.primary()
            group.kill(old)
            new = group.wait_for_failover(old)
            async with asyncio.timeout(60):
                with group.client(new) as client:
                    while not client.publish("of:job-changed:job", "x"):
                        await asyncio.sleep(0.05)
        await hub.close()
        group.start_server(old, replica_of=new)

    asyncio.run(story())


def connect(server: RedisServer) -> str:
    async def try_once() -> str:
        async with RedisConnection(server) as link:
            with pytest.raises(StoreError) as raised:
                await link.command("PING")
            return f"{type(raised.value).__name__}: {raised.value}"

    return asyncio.run(try_once())


def test_an_unknown_service_is_refused_with_the_key_to_correct(group) -> None:
    message = connect(RedisServer(sentinels=group.server.sentinels, service="other"))
    assert message.startswith(StoreRefused.__name__)
    assert "they do not monitor 'other'" in message
    assert "service" in message


def test_sentinels_that_do_not_run_are_named(group) -> None:
    message = connect(RedisServer(sentinels=("127.0.0.1:1", "127.0.0.1:2"), service="jobs"))
    assert message.startswith(StoreUnreachable.__name__)
    assert "none of the Sentinels (127.0.0.1:1, 127.0.0.1:2) answers" in message


def test_one_sentinel_of_three_that_runs_is_enough(group) -> None:
    async def story() -> None:
        running = group.server.sentinels[0]
        server = RedisServer(sentinels=("127.0.0.1:1", running, "127.0.0.1:2"), service="jobs")
        async with RedisConnection(server) as link:
            assert await eventually(lambda: link.command("PING")) == b"PONG"

    asyncio.run(story())


@pytest.mark.parametrize("stopped", [0, 1], ids=["all run", "one that is right is stopped"])
def test_a_sentinel_that_names_a_replica_with_the_same_epoch_leads_to_the_primary_all_the_same(group, stopped) -> None:
    """Two failovers in quick succession left three real Sentinels so, and none of them corrected it."""

    async def story() -> None:
        primary, replica = group.primary(), max(port for port in group.servers if port != group.primary())
        ports = [group.start_lone_sentinel(port, epoch=9) for port in (replica, primary, primary)]
        for port in ports[len(ports) - stopped :]:
            group.stop_lone_sentinel(port)
        server = RedisServer(sentinels=tuple(f"127.0.0.1:{port}" for port in ports), service="alone")
        async with RedisConnection(server) as link:
            await persist(lambda: link.command("SET", "same", "epoch"))
            assert await eventually(lambda: link.command("GET", "same")) == b"epoch"

    asyncio.run(story())


def test_the_port_of_redis_in_the_place_of_a_sentinel_is_named(group) -> None:
    message = connect(RedisServer(sentinels=(f"127.0.0.1:{group.primary()}",), service="jobs"))
    assert message.startswith(StoreRefused.__name__)
    assert "are no Sentinels" in message


def test_a_wrong_password_of_the_primary_is_no_secret_and_names_the_remedy(group) -> None:
    message = connect(group.server.model_copy(update={"password": SecretStr("hunter2")}))
    assert message.startswith(StoreRefused.__name__)
    assert "password" in message
    assert "hunter2" not in message


def test_a_write_that_a_demoted_server_refuses_is_carried_out_by_the_primary(group) -> None:
    async def story() -> None:
        async with RedisConnection(group.server) as link:
            await persist(lambda: link.command("SET", "demoted", 0))
            old = group.primary()
            with group.client(old) as client:
                client.execute_command("REPLICAOF", "127.0.0.1", next(port for port in group.servers if port != old))
            errors = await persist(lambda: link.command("SET", "demoted", 1))
            assert all("replica now" in str(error) or "no primary" in str(error) for error in errors)
            assert await eventually(lambda: link.command("GET", "demoted")) == b"1"

    asyncio.run(story())
