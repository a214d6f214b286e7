"""A bot as a process: prints its deliveries, and acknowledges each when it reads `ack` from standard input."""

from __future__ import annotations

import asyncio
import sys

from openfall import AsyncOpenfall


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(url: str, config: str, reader: str) -> None:
    async with AsyncOpenfall(url, config=config) as llm:
        async for delivery in llm.inbox("bot", reader=reader):
            print_line(f"{delivery.job_id} {delivery.reply_to} {delivery.text}")
            if (await asyncio.to_thread(sys.stdin.readline)).strip() == "ack":
                await delivery.ack()
                print_line("acknowledged")


asyncio.run(main(*sys.argv[1:]))
