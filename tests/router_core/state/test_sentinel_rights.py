"""The ACL rules of the documentation, for the Sentinels and for confirmed writes, on real servers."""

from __future__ import annotations

import asyncio
import re
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.sentinel import Sentinels
from tests.router_core.state.test_redis_rights import PAGE, rule
from tests.sentinel_group import SERVICE, SentinelGroup

pytestmark = pytest.mark.slow

HEARTBEAT = {"inbox": "x", "group": "g", "reader": "r", "limit": 5, "after": "-"}
WAIT_SECONDS = 20


def rule_of_sentinels() -> list[str]:
    """The ACL rule of the documentation."""
    (text,) = re.findall(
        r"The user of the Sentinels needs (.*?)\. The user of Redis", PAGE.read_text("utf-8"), re.DOTALL
    )
    return " ".join(re.findall(r"`(.*?)`", text)).split()


def test_the_documented_rules_let_a_worker_follow_the_sentinels_and_confirm_its_writes() -> None:
    async def story(group: SentinelGroup) -> None:
        secret = SecretStr("pw")
        server = RedisServer(
            sentinels=group.server.sentinels, service=SERVICE, sentinel_username="openfall", sentinel_password=secret,
            username="openfall", password=secret, durability="fsync",
        )  # fmt: skip
        switched = asyncio.Event()
        sentinels = Sentinels(server, {}, switched.set)
        async with RedisConnection(server) as link, AsyncExitStack() as stack, asyncio.timeout(WAIT_SECONDS):
            stack.push_async_callback(sentinels.close)
            await sentinels.address()
            _, confirmation = await link.confirmed_script("inbox_heartbeat", HEARTBEAT)
            assert confirmation is not None
            assert confirmation.on_disk == 1
            await link.command("SET", "of:before", "1")
            old = group.primary()
            group.kill(old)
            await asyncio.to_thread(group.wait_for_failover, old)
            await switched.wait()
            assert await link.command("GET", "of:before") == b"1"

    with tempfile.TemporaryDirectory(prefix="of-") as home:
        group = SentinelGroup(Path(home), ("--appendfsync", "always"))
        try:
            group.start()
            for port in group.servers:
                with group.client(port) as client:
                    client.execute_command("ACL SETUSER", "openfall", "on", ">pw", *rule("worker"), "+waitaof")
            for port in group.sentinels:
                with group.client(port) as client:
                    client.execute_command("ACL SETUSER", "openfall", "on", ">pw", *rule_of_sentinels())
            asyncio.run(story(group))
        finally:
            group.close()
