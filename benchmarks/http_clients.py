"""HTTP clients side by side: what one call costs with many in flight. `python -m benchmarks.http_clients --json`

Every client makes the same calls to the same upstream, which runs in a process of its own. The clients take turns, and
the output has the medians of the turns. CPU is that of this process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import httpx
import orjson
import uvloop
from multidict import CIMultiDict
from yarl import URL

from openfall.workers.backends.call_request import Request
from openfall.workers.backends.openai_client import OpenAIBackend
from openfall.workers.backends.transport import Transport

ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "A lantern. " * 8}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 41, "completion_tokens": 38, "total_tokens": 79},
    }
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
REQUEST: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Haruka greets the festival crowd"}],
    "max_tokens": 99,
}
WIRE = {"content-type": "application/json", "authorization": "Bearer mock", "accept-encoding": "identity"}

Call = Callable[[], Awaitable[object]]


class Upstream(asyncio.Protocol):
    """Answers each POST after the seconds named in its path (`/0.1/v1/chat/completions`), one at a time."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, gap, body = self.received.partition(b"\r\n\r\n")
        if not gap or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return
        self.received = b""
        if delay := float(head.split(b"/", 2)[1]):
            asyncio.get_running_loop().call_later(delay, self.answer)
        else:
            self.answer()

    def answer(self) -> None:
        self.transport.write(HEAD + ANSWER)


async def serve() -> None:
    """Run the upstream: print its port, and serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


@asynccontextmanager
async def upstream() -> AsyncIterator[Callable[[float], str]]:
    """The upstream in a process of its own: the URL of its calls by their latency in seconds."""
    command, pipe = [sys.executable, "-m", "benchmarks.http_clients", "--serve"], asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin
    assert process.stdout
    port = int(await process.stdout.readline())
    try:
        yield lambda latency: f"http://127.0.0.1:{port}/{latency}/v1/chat/completions"
    finally:
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def httpx_client(url: str) -> AsyncIterator[Call]:
    async with httpx.AsyncClient(headers=WIRE, timeout=60) as client:

        async def call() -> None:
            response = await client.post(url, content=orjson.dumps(REQUEST))
            orjson.loads(response.content)

        yield call


@asynccontextmanager
async def our_transport(url: str) -> AsyncIterator[Call]:
    async with _calls(Transport(keep_alive=True), url) as call:
        yield call


@asynccontextmanager
async def our_transport_closing(url: str) -> AsyncIterator[Call]:
    async with _calls(Transport(keep_alive=False), url) as call:
        yield call


@asynccontextmanager
async def our_backend(url: str) -> AsyncIterator[Call]:
    """The whole `complete`: body, call, timeout, classification, answer."""
    backend = OpenAIBackend(url.removesuffix("/v1/chat/completions"), "mock", Transport(keep_alive=True))
    request = Request(body=REQUEST, upstream="mock", timeout=60)
    yield lambda: backend.complete(request)
    await backend.close()


@asynccontextmanager
async def raw_aiohttp(url: str) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=WIRE) as session:

        async def call() -> None:
            async with session.post(url, data=orjson.dumps(REQUEST)) as response:
                orjson.loads(await response.read())

        yield call


@asynccontextmanager
async def _calls(transport: Transport, url: str) -> AsyncIterator[Call]:
    address, headers = URL(url), CIMultiDict(WIRE)

    async def call() -> None:
        response = await transport.send("POST", address, headers, orjson.dumps(REQUEST))
        orjson.loads(await response.read())

    yield call
    await transport.close()


CLIENTS = {
    "httpx.AsyncClient": httpx_client,
    "our transport": our_transport,
    "our transport, a connection per call": our_transport_closing,
    "our backend, all of complete()": our_backend,
    "raw aiohttp": raw_aiohttp,
}


async def turn(url: str, name: str, calls: int, in_flight: int) -> tuple[float, float]:
    """(calls per second, CPU microseconds per call) after a warm-up of one call per slot."""
    async with CLIENTS[name](url) as call:

        async def slot() -> None:
            while pending:
                pending.pop()
                await call()

        await asyncio.gather(*[call() for _ in range(in_flight)])
        pending = [None] * calls
        cpu, began = _cpu(), time.perf_counter()
        await asyncio.gather(*[slot() for _ in range(in_flight)])
        return calls / (time.perf_counter() - began), (_cpu() - cpu) / calls * 1e6


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(calls: int, in_flight: int, turns: int) -> list[dict[str, Any]]:
    """One row per client and latency."""
    rows = []
    async with upstream() as url:
        for latency, share in ((0.0, 1.0), (0.1, 0.4)):
            runs_by_client: dict[str, list[tuple[float, float]]] = {name: [] for name in CLIENTS}
            for _ in range(turns):
                for name, runs in runs_by_client.items():
                    slow = 0.2 if "httpx" in name else 1.0
                    runs.append(await turn(url(latency), name, int(calls * share * slow), in_flight))
            rows += [_row(name, latency, runs) for name, runs in runs_by_client.items()]
    return rows


def _row(name: str, latency: float, runs: list[tuple[float, float]]) -> dict[str, Any]:
    rate, cpu = (round(statistics.median(column)) for column in zip(*runs, strict=True))
    return {"client": name, "latency_ms": round(latency * 1000), "calls_per_s": rate, "cpu_us_per_call": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=5000, help="calls per turn")
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    rows = uvloop.run(measure(options.calls, options.in_flight, options.turns))
    if options.json:
        sys.stdout.write(
            json.dumps({"in_flight": options.in_flight, "turns": options.turns, "rows": rows}, indent=1) + "\n"
        )
        return
    for row in rows:
        sys.stdout.write(
            "{client:<45}{latency_ms:>5} ms {calls_per_s:>8}/s {cpu_us_per_call:>8} us CPU\n".format_map(row)
        )


if __name__ == "__main__":
    main()
