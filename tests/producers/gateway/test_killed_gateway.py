"""Gateways that are killed: their callers come again at another gateway."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.server import find_free_port
from openfall.router_core.state import keys
from tests.faults import COMPLETION, answer, piece, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run

pytestmark = pytest.mark.slow


@asynccontextmanager
async def _killable(
    gateway: RunningGateway, home: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """A second gateway, as a process of its own."""
    address = f"127.0.0.1:{find_free_port()}"
    text = (home / "openfall.yaml").read_text()
    file = home / "second.yaml"
    file.write_text(f'{text}\ngateway: {{listen: ["{address}"]}}\n')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "openfall.producers.gateway", "--config", str(file), "--announce", "--quiet"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b'{"event": "ready"}\n'
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as http:
            yield process, http
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_a_request_at_a_killed_gateway_is_answered_at_another_and_bought_once(redis_url: str, tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await answer(COMPLETION)(writer)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, slow) as gateway, _killable(gateway, tmp_path) as (process, http):
            lost = asyncio.create_task(http.post("/v1/chat/completions", json={"model": "chat", **SAY}))
            await asyncio.wait_for(gateway.upstream.arrived.wait(), 60)
            process.kill()
            with pytest.raises(httpx.TransportError):
                await lost
            again = asyncio.create_task(gateway.chat())
            gate.set()
            response = await again
        assert response.json()["choices"][0]["message"]["content"] == "A lantern festival."
        assert len(gateway.upstream.calls_received) == 1

    run(main)


def test_a_stream_of_a_killed_gateway_is_resumed_at_another_with_each_event_once(
    redis_url: str, tmp_path: Path
) -> None:
    gate = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        writer.write(head + _sse(piece(content="A lantern ")))
        await writer.drain()
        await gate.wait()
        writer.write(_sse(piece(content="festival.")) + _sse(piece("stop")) + b"data: [DONE]\n\n")
        await writer.drain()

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, slow) as gateway, _killable(gateway, tmp_path) as (process, http):
            events: list[dict[str, Any]] = []
            with pytest.raises(httpx.TransportError):
                await _read_until_killed(http, process, events)
            gate.set()
            path = f"/v1/responses/{events[0]['response']['id']}?stream=true"
            resumed = await gateway.http.get(f"{path}&starting_after={events[-1]['sequence_number']}")
            events += [
                json.loads(line.removeprefix("data: "))
                for line in resumed.text.splitlines()
                if line.startswith("data: ")
            ]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert text == "A lantern festival."
        assert events[-1]["type"] == "response.completed"
        assert len(gateway.upstream.calls_received) == 1

    run(main)


async def _read_until_killed(
    http: httpx.AsyncClient, process: asyncio.subprocess.Process, events: list[dict[str, Any]]
) -> None:
    """Stream a Response into `events`, and kill its gateway at the first text."""
    body = {"model": "chat", "input": "x", "background": True, "stream": True}
    async with http.stream("POST", "/v1/responses", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
                if events[-1]["type"] == "response.output_text.delta":
                    process.kill()


def _sse(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def test_a_killed_gateway_leaves_no_orphan(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway, _killable(gateway, tmp_path) as (process, http):
            lost = asyncio.create_task(http.post("/v1/chat/completions", json={"model": "chat", **SAY}))
            await asyncio.wait_for(gateway.upstream.arrived.wait(), 60)
            (job,) = await gateway.link.command("ZRANGE", keys.CALLER_LEASES, 0, -1)
            process.kill()
            await asyncio.wait([lost])
            lost.exception()
            result = await gateway.instance.client.wait(job.decode(), 60, accept_interim=False)
        assert (str(result.status), result.detail) == ("cancelled", "its caller has left")

    run(main)
