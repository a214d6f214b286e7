"""HTTP clients side by side: what one call costs with many in flight. `python -m benchmarks.transport --json`

Every client makes the same calls to the same upstream, which runs in a process of its own, in turns; the medians of
the turns are told. CPU is that of this process alone.
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
import httpx_aiohttp
import orjson
import uvloop

from openfall.workers.backends.base import Request
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
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Haruka greets the festival crowd"}],
    "max_tokens": 99,
}
WIRE = {"content-type": "application/json", "authorization": "Bearer mock", "accept-encoding": "identity"}

Call = Callable[[], Awaitable[object]]


class Upstream(asyncio.Protocol):
    """Answers each POST after the seconds named in its path (`/0.1/v1/chat/completions`), one at a time."""

    def __init__(self) -> None:
        self.seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, gap, body = self.seen.partition(b"\r\n\r\n")
        if not gap or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return
        self.seen = b""
        if delay := float(head.split(b"/", 2)[1]):
            asyncio.get_running_loop().call_later(delay, self.answer)
        else:
            self.answer()

    def answer(self) -> None:
        self.transport.write(HEAD + ANSWER)


async def serve() -> None:
    """Be the upstream: tell the port, and serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


@asynccontextmanager
async def httpx_default(url: str) -> AsyncIterator[Call]:
    async with httpx.AsyncClient(headers=WIRE, timeout=60) as client:
        yield lambda: _by_client(client, url)


@asynccontextmanager
async def httpx_over_httpx_aiohttp(url: str) -> AsyncIterator[Call]:
    transport = httpx_aiohttp.AiohttpTransport(limits=httpx.Limits(max_connections=0))
    async with httpx.AsyncClient(headers=WIRE, timeout=60, transport=transport) as client:
        yield lambda: _by_client(client, url)


@asynccontextmanager
async def transport_of_httpx_aiohttp(url: str) -> AsyncIterator[Call]:
    async with httpx_aiohttp.AiohttpTransport(limits=httpx.Limits(max_connections=0)) as transport:
        yield _by_transport(transport, url)


@asynccontextmanager
async def transport_of_ours(url: str) -> AsyncIterator[Call]:
    async with Transport(keep_alive=True) as transport:
        yield _by_transport(transport, url)


@asynccontextmanager
async def transport_of_ours_closing(url: str) -> AsyncIterator[Call]:
    async with Transport(keep_alive=False) as transport:
        yield _by_transport(transport, url)


@asynccontextmanager
async def backend_of_ours(url: str) -> AsyncIterator[Call]:
    """The whole `complete`: body, call, timeout, classification, answer."""
    backend = OpenAIBackend(url.removesuffix("/v1/chat/completions"), "mock", Transport(keep_alive=True))
    request = Request(body=ASKED, upstream="mock", timeout=60)
    yield lambda: backend.complete(request)
    await backend.close()


@asynccontextmanager
async def raw_aiohttp(url: str) -> AsyncIterator[Call]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=WIRE) as session:

        async def call() -> None:
            async with session.post(url, data=orjson.dumps(ASKED)) as response:
                orjson.loads(await response.read())

        yield call


async def _by_client(client: httpx.AsyncClient, url: str) -> None:
    response = await client.post(url, content=orjson.dumps(ASKED))
    orjson.loads(response.content)


def _by_transport(transport: httpx.AsyncBaseTransport, url: str) -> Call:
    address = httpx.URL(url)
    wire = [(name.encode(), value.encode()) for name, value in {"host": address.netloc.decode(), **WIRE}.items()]

    async def call() -> None:
        body = orjson.dumps(ASKED)
        headers = [*wire, (b"content-length", b"%d" % len(body))]
        request = httpx.Request("POST", address, headers=headers, stream=httpx.ByteStream(body))
        response = await transport.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        orjson.loads(b"".join([chunk async for chunk in response.stream]))
        await response.stream.aclose()

    return call


CLIENTS = {
    "httpx.AsyncClient, its own pool": httpx_default,
    "httpx.AsyncClient over httpx-aiohttp": httpx_over_httpx_aiohttp,
    "httpx-aiohttp's transport, called directly": transport_of_httpx_aiohttp,
    "our transport over aiohttp": transport_of_ours,
    "our transport, a connection per call": transport_of_ours_closing,
    "our backend, all of complete()": backend_of_ours,
    "raw aiohttp": raw_aiohttp,
}


async def turn(url: str, name: str, calls: int, in_flight: int) -> tuple[float, float]:
    """(calls per second, CPU microseconds per call) after a warm-up of one call per slot."""
    async with CLIENTS[name](url) as call:

        async def slot(left: list[None]) -> None:
            while left:
                left.pop()
                await call()

        await asyncio.gather(*[call() for _ in range(in_flight)])
        left = [None] * calls
        cpu, began = _cpu(), time.perf_counter()
        await asyncio.gather(*[slot(left) for _ in range(in_flight)])
        return calls / (time.perf_counter() - began), (_cpu() - cpu) / calls * 1e6


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(calls: int, in_flight: int, turns: int) -> list[dict[str, Any]]:
    """One row per client and latency."""
    command = [sys.executable, "-m", "benchmarks.transport", "--serve"]
    pipe = asyncio.subprocess.PIPE
    upstream = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert upstream.stdin
    assert upstream.stdout
    port = int(await upstream.stdout.readline())
    rows = []
    try:
        for latency, share in ((0.0, 1.0), (0.1, 0.4)):
            url = f"http://127.0.0.1:{port}/{latency}/v1/chat/completions"
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in CLIENTS}
            for _ in range(turns):
                for name, runs in found.items():
                    slow = 0.2 if "own pool" in name else 1.0
                    runs.append(await turn(url, name, int(calls * share * slow), in_flight))
            rows += [_row(name, latency, runs) for name, runs in found.items()]
    finally:
        upstream.stdin.close()
        await upstream.wait()
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
    asked = parser.parse_args()
    if asked.serve:
        uvloop.run(serve())
        return
    rows = uvloop.run(measure(asked.calls, asked.in_flight, asked.turns))
    if asked.json:
        sys.stdout.write(
            json.dumps({"in_flight": asked.in_flight, "turns": asked.turns, "rows": rows}, indent=1) + "\n"
        )
        return
    for row in rows:
        told = (row["client"], row["latency_ms"], row["calls_per_s"], row["cpu_us_per_call"])
        sys.stdout.write("{:<45}{:>5} ms {:>8}/s {:>8} us CPU\n".format(*told))


if __name__ == "__main__":
    main()
