"""A post office in a process of its own, to be killed. Arguments: the URL of Redis, and that of Discord or nothing."""

from __future__ import annotations

import asyncio
import sys

from router_core.state.link import Link
from workers.post_office.addresses import TRUSTED
from workers.post_office.office import PostOffice, Terms


async def main(redis_url: str, discord: str) -> None:
    async with Link(redis_url) as link:
        office = PostOffice(link, Terms(discord=discord, secret="hunter2", rules=TRUSTED), chance=lambda: 0.5)
        await office.round()
        await office.settle()
        await office.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
