"""An upstream with scripted faults: real sockets, one scripted response for each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes a response, or none. The connection closes after it unless the script is `kept`."""

MESSAGE = {"role": "assistant", "content": "A lantern festival."}
USAGE = {"prompt_tokens": 41, "completion_tokens": 5, "total_tokens": 46}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "upstream-name",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
    "usage": USAGE,
}


@dataclass
class Asked:
    """A request as it arrived. `connection` counts from 0."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class FaultServer:
    """Answers each request by the next script; the last one serves all that follow.

    `arrived` is set by the first request, `left` by the first connection to end.
    """

    scripts: list[Script]
    url: str = ""
    calls_received: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        try:
            while await self._answer(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.left.set()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.arrived.set()
        self.calls_received.append(Asked(head[0].split(" ")[1], headers, body, number))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        answering = asyncio.ensure_future(script(writer))
        leaving = asyncio.ensure_future(reader.read(1)) if script in LINGERING else None
        tasks = {task for task in (answering, leaving) if task}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return answering.done() and answering.result() is None and script in KEEPING
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def fault_server(*scripts: Script) -> AsyncIterator[FaultServer]:
    """A server on a free loopback port."""
    faults = FaultServer(list(scripts))
    server = await asyncio.start_server(faults.serve, "127.0.0.1", 0)
    faults.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield faults
    finally:
        server.close()


LINGERING: set[Script] = set()
"""Scripts that take their time: the server stops them, and notes it, when the client leaves."""
KEEPING: set[Script] = set()
"""Scripts after which the connection stays open for another request."""


def head(status: int, length: int | None, headers: dict[str, str]) -> bytes:
    actual = headers | ({"Content-Length": str(length)} if length is not None else {})
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in actual.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def raw(data: bytes) -> Script:
    """Exactly these bytes."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return script


def answer(body: object, status: int = 200, **headers: str) -> Script:
    """A whole response; `body` as JSON, or as it is when bytes. `retry_after="7"` is a header."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return raw(head(status, len(data), {"Content-Type": "application/json"} | named) + data)


def kept(script: Script) -> Script:
    """The same, and the connection stays open."""
    KEEPING.add(script)
    return script


def cut(body: object) -> Script:
    """A response that ends in the middle of its body."""
    data = orjson.dumps(body)
    return raw(head(200, len(data), {}) + data[: len(data) // 2])


def events(*chunks: object, done: bool = True, newline: bytes = b"\n") -> Script:
    """A stream of chunks, each an event, that ends when the connection does."""
    data = b"".join(b"data: " + orjson.dumps(chunk) + 2 * newline for chunk in chunks)
    return raw(head(200, None, {"Content-Type": "text/event-stream"}) + data + (b"data: [DONE]\n\n" if done else b""))


def cut_events(*chunks: object) -> Script:
    """A chunked stream whose connection is lost after these events."""
    return cut_chunks("text/event-stream", b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks))


def named_events(*actual: dict[str, object]) -> Script:
    """A stream in Anthropic's manner: each event under the name of its type."""
    data = b"".join(
        b"event: %b\n" % str(element["type"]).encode() + b"data: " + orjson.dumps(element) + b"\n\n"
        for element in actual
    )
    return raw(head(200, None, {"Content-Type": "text/event-stream"}) + data)


def lines(*actual: object) -> Script:
    """A stream in Ollama's manner: each a line. It ends when the connection does."""
    data = b"".join(orjson.dumps(element) + b"\n" for element in actual)
    return raw(head(200, None, {"Content-Type": "application/x-ndjson"}) + data)


def cut_chunks(content_type: str, data: bytes) -> Script:
    """A chunked stream whose connection is lost after these bytes: there was to be more."""
    start = head(200, None, {"Content-Type": content_type, "Transfer-Encoding": "chunked"})
    return raw(start + b"%x\r\n%b\r\n" % (len(data), data))


def dripping(content_type: str, data: bytes) -> Script:
    """The same bytes now and then, without an end."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, None, {"Content-Type": content_type}))
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.02)

    LINGERING.add(script)
    return script


def piece(finish: str | None = None, **delta: object) -> dict[str, object]:
    """One chunk of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


async def reset(writer: asyncio.StreamWriter) -> None:
    """The connection is lost before any byte."""
    writer.transport.abort()


async def stall(_writer: asyncio.StreamWriter) -> None:
    """Nothing, for ever."""
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that no single read ever times out."""
    writer.write(head(200, 10**6, {"Content-Type": "application/json"}))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_events(writer: asyncio.StreamWriter) -> None:
    """A piece of text now and then, without an end."""
    writer.write(head(200, None, {"Content-Type": "text/event-stream"}))
    while True:
        writer.write(b"data: " + orjson.dumps(piece(content="la ")) + b"\n\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(writer: asyncio.StreamWriter) -> None:
    """More than anyone wants to read."""
    writer.write(head(200, None, {"Content-Type": "application/json"}))
    while True:
        writer.write(b" " * 2**20)
        await writer.drain()


LINGERING |= {stall, drip, drip_events, flood}
