"""Another server becomes the primary, and the one before stays and takes no writes: programs follow the address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis

import openfall as api
from openfall.config import load
from openfall.producers import client_store
from openfall.router_core.state import address_pool, keys
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.job_events import EventHub
from openfall.router_core.state.redis_connection import RedisConnection
from tests.moving_address import moving_address
from tests.valkey_server import Server

Demote = Callable[[redis.Redis], object]

DEMOTIONS: dict[str, Demote] = {
    "a replica that lacks its primary": lambda admin: admin.execute_command("REPLICAOF", "127.0.0.1", "1"),
    "too few replicas": lambda admin: admin.config_set("min-replicas-to-write", 3),
}


@pytest.mark.parametrize("demotion", DEMOTIONS)
def test_each_connection_of_a_process_follows_the_address_to_the_next_primary(
    demotion, server: Server, store, monkeypatch
) -> None:
    monkeypatch.setattr(address_pool, "LEAVE_INTERVAL_SECONDS", 0.1)
    next_socket = store.connection_pool.connection_kwargs["path"]

    async def story() -> None:
        async with moving_address(server.socket) as address, RedisConnection(address.url) as link:
            hub = EventHub(address.url)
            async with hub.subscribe("job-1") as listener:
                await link.command("SET", "written", "before")
                with redis.Redis.from_url(server.url) as former:
                    while not former.pubsub_numsub(keys.JOB_CHANGED + "job-1")[0][1]:
                        await asyncio.sleep(0.01)
                    DEMOTIONS[demotion](former)
                    with pytest.raises(StoreUnreachable, match="point the URL at the primary"):
                        await link.command("SET", "written", "while the address leads there")
                    while not former.pubsub_numsub(keys.JOB_CHANGED + "job-1")[0][1]:
                        await asyncio.sleep(0.01)  # the subscription is there again
                    address.socket = next_socket
                    await link.command("SET", "written", "after")
                    assert (store.get("written"), former.get("written")) == (b"after", b"before")
                while not store.publish(keys.JOB_CHANGED + "job-1", '1 {"event":"done"}'):
                    await asyncio.sleep(0.01)
                while not any(announced.event for announced in await listener.next_events()):
                    pass
            await hub.close()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_client_that_only_waits_hears_of_the_answer_that_the_next_primary_has(
    server: Server, store, config_file, monkeypatch
) -> None:
    next_socket = store.connection_pool.connection_kwargs["path"]
    monkeypatch.setattr(client_store, "PRIMARY_CHECK_SECONDS", 0.0)

    async def story() -> api.Result:
        async with moving_address(server.socket) as address:
            loaded = load(config_file, environ={"REDIS_URL": address.url})
            async with api.AsyncOpenfall(config=loaded) as llm:
                job = await llm.submit("hi", role="chat")
                waiting = asyncio.create_task(llm.wait(job))
                with redis.Redis.from_url(server.url) as former:
                    while not former.pubsub_numsub(keys.JOB_CHANGED + job.id)[0][1]:
                        await asyncio.sleep(0.01)
                    for key in former.scan_iter():
                        store.restore(key, 0, former.dump(key))
                    former.execute_command("REPLICAOF", "127.0.0.1", "1")
                address.socket = next_socket
                async with RedisConnection(f"unix://{next_socket}") as link:
                    await client_store.JobStore(link).cancel(job.id)
                return await waiting

    assert asyncio.run(asyncio.wait_for(story(), 60)).status == "cancelled"
