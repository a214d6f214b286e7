"""A provider that bills what it is asked for, whatever its caller learns: `python -m tests.chaos.billing_upstream`.

A request names its job, its group and its producer in its last message or its only text. It is billed when it arrives:
that is the earliest moment at which a bill may exceed a limit. `invoice.jsonl` has a line for each call: job, group,
producer, nanodollars, and whether the caller gets the usage. A part of the calls is cut off in mid-answer, and a part
is answered with a filter, which is billed all the same.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import uvloop
from aiohttp import web

INPUT_NUSD, OUTPUT_NUSD = 1_000, 5_000
"""Nanodollars a token: 1 and 5 US dollars for a million."""
MAX_OUTPUT = 100
POLL_SECONDS = 0.02
Usage = tuple[int, int]
"""The tokens of a prompt and of its answer."""


class BillingUpstream:
    """The server. `cut` is the share of calls whose outcome the caller never learns, `filtered` of those that are
    refused with a usage. It answers no call before the file `after` exists."""

    def __init__(
        self, invoice: Path, after: Path, latency_seconds: float, cut: float, filtered: float, seed: int
    ) -> None:
        self._file, self._after, self._latency = invoice.open("ab", buffering=0), after, latency_seconds
        self._chance, self.calls = random.Random(seed), 0
        self._cut, self._filtered = (_one_in_each(round(1 / share), self._chance) for share in (cut, filtered))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """A chat completion."""
        body = await request.json()
        usage = self._usage(body["messages"], int(body.get("max_tokens") or MAX_OUTPUT))
        return await self._bill(request, str(body["messages"][-1]["content"]), usage, _completion)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """A Response."""
        body = await request.json()
        usage = self._usage(body["input"], int(body.get("max_output_tokens") or MAX_OUTPUT))
        return await self._bill(request, str(body["input"]), usage, _response)

    async def embed(self, request: web.Request) -> web.StreamResponse:
        """The embedding of one text."""
        (text,) = (await request.json())["input"]
        return await self._bill(request, text, self._usage(text, 0), _embedding)

    async def _bill(
        self, request: web.Request, text: str, usage: Usage, answer: Callable[[Usage, bool], dict[str, Any]]
    ) -> web.StreamResponse:
        """Bill one call, then answer it, or not. `answer` builds the body of a usage, refused by a filter or not."""
        job, group, producer = text.split(" ")[:3]
        cost = usage[0] * INPUT_NUSD + usage[1] * OUTPUT_NUSD
        is_cut, is_filtered, self.calls = next(self._cut), next(self._filtered), self.calls + 1
        row = {"call": self.calls, "job": job, "group": group, "producer": producer, "nusd": cost, "cut": is_cut}
        self._file.write((json.dumps(row) + "\n").encode())
        await asyncio.sleep(self._latency * (0.5 + self._chance.random()))
        while not self._after.exists():
            await asyncio.sleep(POLL_SECONDS)
        if is_cut:
            return await self._cut_off(request)
        return web.json_response(answer(usage, is_filtered))

    def _usage(self, prompt: Any, limit: int) -> Usage:
        return self._chance.randint(1, len(json.dumps(prompt))), self._chance.randint(0, limit)

    async def _cut_off(self, request: web.Request) -> web.StreamResponse:
        """The head of an answer, and the connection ends."""
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"id":')
        if request.transport is not None:
            request.transport.abort()
        return response


def _one_in_each(period: int, chance: random.Random) -> Iterator[bool]:
    """True for one call in each `period` calls, at a place of chance: a short run has its share of them too."""
    while True:
        place = chance.randrange(period)
        yield from (number == place for number in range(period))


def _completion(usage: Usage, is_filtered: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": "" if is_filtered else "An answer."}
    choice = {"index": 0, "message": message, "finish_reason": "content_filter" if is_filtered else "stop"}
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": counts}


def _response(usage: Usage, is_filtered: bool) -> dict[str, Any]:
    content = [] if is_filtered else [{"type": "output_text", "text": "An answer.", "annotations": []}]
    message = {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": content}
    return {
        "id": "r", "object": "response", "created_at": 1, "model": "m", "output": [message],
        "status": "incomplete" if is_filtered else "completed",
        "incomplete_details": {"reason": "content_filter"} if is_filtered else None,
        "usage": {"input_tokens": usage[0], "output_tokens": usage[1], "total_tokens": sum(usage)},
    }  # fmt: skip


def _embedding(usage: Usage, is_filtered: bool) -> dict[str, Any]:
    """Embeddings have no filter."""
    data = [{"object": "embedding", "index": 0, "embedding": "AACAPwAAAEA="}]
    return {
        "object": "list",
        "model": "v",
        "data": data,
        "usage": {"prompt_tokens": usage[0], "total_tokens": usage[0]},
    }


async def _serve(upstream: BillingUpstream, port: int) -> None:
    application = web.Application()
    application.router.add_post("/v1/chat/completions", upstream.complete)
    application.router.add_post("/v1/responses", upstream.respond)
    application.router.add_post("/v1/embeddings", upstream.embed)
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
@click.option("--after", required=True, type=click.Path(path_type=Path))
@click.option("--latency-ms", required=True, type=float)
@click.option("--cut", required=True, type=float)
@click.option("--filtered", required=True, type=float)
@click.option("--seed", required=True, type=int)
def main(port: int, invoice: Path, after: Path, latency_ms: float, cut: float, filtered: float, seed: int) -> None:
    """Serve on a port of this machine until SIGTERM."""
    uvloop.run(_serve(BillingUpstream(invoice, after, latency_ms / 1000, cut, filtered, seed), port))


if __name__ == "__main__":
    main()
