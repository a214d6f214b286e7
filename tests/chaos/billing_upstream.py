"""A provider that bills what it is asked for, whatever its caller learns: `python -m tests.chaos.billing_upstream`.

A request names its job and its group in its last message. It is billed when it arrives: that is the earliest moment
at which a bill may exceed a limit. `invoice.jsonl` has a line for each call: job, group, producer, nanodollars, whether
the caller gets the usage, and the sum so far of each limit that is checked. A part of the calls is cut off in
mid-answer, and a part is answered with a filter, which is billed all the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import click
import uvloop
from aiohttp import web

INPUT_NUSD, OUTPUT_NUSD = 1_000, 5_000
"""Nanodollars a token: 1 and 5 US dollars for a million."""
MAX_OUTPUT = 100


class BillingUpstream:
    """The server. `cut` is the share of calls whose outcome the caller never learns, `filtered` of those that are
    refused with a usage."""

    def __init__(self, invoice: Path, latency_seconds: float, cut: float, filtered: float, seed: int) -> None:
        self._file, self._latency = invoice.open("ab", buffering=0), latency_seconds
        self._cut, self._filtered, self._chance = cut, filtered, random.Random(seed)
        self.sums: Counter[str] = Counter()
        self.calls = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Bill one call, then answer it, or not."""
        body = await request.json()
        words = str(body["messages"][-1]["content"]).split(" ")
        job, group, producer = words[:3]
        usage = self._usage(len(json.dumps(body["messages"])), int(body.get("max_tokens") or MAX_OUTPUT))
        cost = usage["prompt_tokens"] * INPUT_NUSD + usage["completion_tokens"] * OUTPUT_NUSD
        fate, self.calls = self._chance.random(), self.calls + 1
        is_cut = fate < self._cut
        row = {"call": self.calls, "job": job, "group": group, "producer": producer, "nusd": cost, "cut": is_cut}
        self._file.write((json.dumps(row) + "\n").encode())
        await asyncio.sleep(self._latency * (0.5 + self._chance.random()))
        if is_cut:
            return await self._cut_off(request)
        return web.json_response(_completion(usage, filtered=fate < self._cut + self._filtered))

    def _usage(self, size: int, limit: int) -> dict[str, int]:
        return {"prompt_tokens": self._chance.randint(1, size), "completion_tokens": self._chance.randint(0, limit)}

    async def _cut_off(self, request: web.Request) -> web.StreamResponse:
        """The head of an answer, and the connection ends."""
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"id":')
        if request.transport is not None:
            request.transport.abort()
        return response


def _completion(usage: dict[str, int], *, filtered: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": "" if filtered else "An answer."}
    choice = {"index": 0, "message": message, "finish_reason": "content_filter" if filtered else "stop"}
    total = sum(usage.values())
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
        "usage": {**usage, "total_tokens": total},
    }  # fmt: skip


async def _serve(upstream: BillingUpstream, port: int) -> None:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", upstream.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    click.echo(f"http://127.0.0.1:{port}")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await runner.cleanup()


@click.command()
@click.option("--port", required=True, type=int)
@click.option("--invoice", required=True, type=click.Path(path_type=Path))
@click.option("--latency-ms", required=True, type=float)
@click.option("--cut", required=True, type=float)
@click.option("--filtered", required=True, type=float)
@click.option("--seed", required=True, type=int)
def main(port: int, invoice: Path, latency_ms: float, cut: float, filtered: float, seed: int) -> None:
    """Serve on a port of this machine until SIGTERM."""
    uvloop.run(_serve(BillingUpstream(invoice, latency_ms / 1000, cut, filtered, seed), port))


if __name__ == "__main__":
    main()
