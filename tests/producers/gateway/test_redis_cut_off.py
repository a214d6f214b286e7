"""Redis goes away under open streams, and comes back: each caller reads every word once."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from pathlib import Path

import orjson

from tests.faults import Script, head, piece
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway
from tests.valkey_server import Server


def counting(gate: asyncio.Event, sent: list[str]) -> Script:
    """A model that counts until the gate opens."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, None, {"Content-Type": "text/event-stream"}))
        for number in count():
            sent.append(f"{number} ")
            writer.write(b"data: " + orjson.dumps(piece(content=sent[-1])) + b"\n\n")
            await writer.drain()
            if gate.is_set():
                break
            await asyncio.sleep(0.02)
        writer.write(b"data: " + orjson.dumps(piece("stop")) + b"\n\ndata: [DONE]\n\n")
        await writer.drain()

    return script


async def cut_off(server: Server, home: Path, seconds: float, urgency: str) -> tuple[str, str]:
    """What a model sends while Redis is away for a time, and what its caller reads."""
    gate, sent = asyncio.Event(), list[str]()
    async with open_gateway(server.url, home, counting(gate, sent)) as gateway:
        reading, has_begun = _start(gateway, urgency)
        await has_begun.wait()
        server.kill()
        await asyncio.sleep(seconds)
        server.start()
        await gateway.link.command("PING")
        gate.set()
        read = await reading
        return "".join(sent), read


def _start(gateway: RunningGateway, urgency: str) -> tuple[asyncio.Task[str], asyncio.Event]:
    has_begun = asyncio.Event()

    async def read() -> str:
        text = ""
        body, headers = {"model": "chat", **SAY, "stream": True}, {"x-openfall-urgency": urgency}
        async with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                    has_begun.set()
        return text

    return asyncio.create_task(read()), has_begun


def test_a_stream_survives_a_restart_of_redis_with_every_word_once(server: Server, tmp_path: Path) -> None:
    sent, read = asyncio.run(asyncio.wait_for(cut_off(server, tmp_path, 0, "interactive"), 120))
    assert read == sent
