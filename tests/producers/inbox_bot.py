"""A bot in a process of its own: prints what its inbox gives it, and acknowledges what its standard input names."""

from __future__ import annotations

import asyncio
import sys

from openfall import AsyncOpenfall


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(url: str, config: str, reader: str) -> None:
    async with AsyncOpenfall(url, config=config) as llm:
        async for one in llm.inbox("bot", reader=reader):
            tell(f"{one.job_id} {one.reply_to} {one.text}")
            if (await asyncio.to_thread(sys.stdin.readline)).strip() == "ack":
                await one.ack()
                tell("acknowledged")


asyncio.run(main(*sys.argv[1:]))
