"""A dispatcher in a process of its own, to be killed. Arguments: the URL of Redis, and that of Discord or nothing."""

from __future__ import annotations

import asyncio
import sys

from openfall.router_core.state.redis_connection import RedisConnection
from openfall.workers.outbox.dispatcher import OutboxDispatcher
from openfall.workers.outbox.outbox_settings import OutboxSettings
from openfall.workers.outbox.webhook_url_check import TRUSTED


async def main(redis_url: str, discord: str) -> None:
    async with RedisConnection(redis_url) as link:
        settings = OutboxSettings(discord=discord, secret="hunter2", url_policy=TRUSTED)
        dispatcher = OutboxDispatcher(link, settings, jitter=lambda: 0.5)
        await dispatcher.dispatch()
        await dispatcher.wait_idle()
        await dispatcher.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
