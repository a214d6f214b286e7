"""A post office in a process of its own, to be killed: `python -m tests.workers.poster REDIS_URL DISCORD_URL`."""

from __future__ import annotations

import asyncio
import sys

from router_core.state.link import Link
from workers.addresses import TRUSTED
from workers.outbox import PostOffice, Terms


async def main(redis_url: str, discord: str) -> None:
    async with Link(redis_url) as link:
        office = PostOffice(link, Terms(discord=discord, secret="hunter2", rules=TRUSTED), chance=lambda: 0.5)
        await office.round()
        await office.settle()
        await office.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
