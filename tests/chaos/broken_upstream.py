"""Upstreams that are broken on purpose, and one that is not: `python -m tests.chaos.broken_upstream --log FILE`.

One process, one port for each kind. The first line on stdout is JSON: the address of each by name, `good` among them,
and the port of the `control`, which takes a line with the name of a kind, repairs it, and answers with the moment.
Each line of the log is one event of one call, `wall` in epoch seconds: `received`, then `answered` (a whole answer was
written, an error too) or `abandoned` (the caller hung up). `job` is the last message of the call; `probe`: it was
the health prompt; `healed`: the upstream was repaired.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any

import click

from tests.chaos.judge.fault_kinds import KINDS, STREAM, After, Kind, answer, completion, events, piece

HEALTH_PROMPT = "Reply with one word: ready."
"""The prompt of openfall's probes, literally."""

GOOD = "good"
DRIP = 0.05
LONGEST = 64 * 2**10


@dataclass
class Log:
    """A line for each event."""

    file: IO[str]
    numbers: count[int] = field(default_factory=lambda: count(1))

    def note(self, event: str, **more: Any) -> None:
        self.file.write(json.dumps({"event": event, "wall": time.time(), **more}) + "\n")
        self.file.flush()


@dataclass
class Upstream:
    """One upstream. `kind` None: it answers well."""

    name: str
    kind: Kind | None
    log: Log
    latency: float
    port: int = 0
    refusing: socket.socket | None = None

    async def open(self) -> None:
        """Bind a port, and accept connections unless the fault is to refuse them."""
        if self.kind is not None and not self.kind.listens:
            self.refusing = socket.socket()
            self.refusing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.refusing.bind(("127.0.0.1", 0))
            self.port = self.refusing.getsockname()[1]
            return
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=LONGEST, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]

    async def repair(self) -> None:
        """From now on the upstream answers."""
        self.kind = None
        if self.refusing is not None:
            self.refusing.setblocking(False)
            await asyncio.start_server(self.serve, sock=self.refusing, limit=LONGEST)
            self.refusing = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            call = await _read(reader)
            if call is not None:
                await self._answer(call, reader, writer)
        writer.close()

    async def _answer(self, call: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = str(call["messages"][-1]["content"])
        fields = {"upstream": self.name, "call": next(self.log.numbers), "job": text, "probe": text == HEALTH_PROMPT,
                "stream": bool(call.get("stream")), "healed": self.kind is None}  # fmt: skip
        self.log.note("received", **fields)
        answering = asyncio.ensure_future(self._send(text, bool(call.get("stream")), writer))
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            self.log.note("answered" if answering.done() else "abandoned", **fields)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _send(self, text: str, stream: bool, writer: asyncio.StreamWriter) -> None:
        kind = self.kind
        if kind is None:
            await asyncio.sleep(self.latency)
            writer.write(self._good_answer(text, stream))
            await writer.drain()
            return
        writer.write(kind.streamed if stream else kind.whole)
        await writer.drain()
        if kind.after is After.RESET:
            writer.transport.abort()
        elif kind.after is After.STALL:
            await asyncio.Event().wait()
        while kind.after is After.DRIP:
            await asyncio.sleep(DRIP)
            writer.write(events(piece("la ")) if stream else b" ")
            await writer.drain()

    def _good_answer(self, text: str, stream: bool) -> bytes:
        text = "ready" if text == HEALTH_PROMPT else f"{self.name} answers {text}"
        if not stream:
            return answer(completion(text))
        return STREAM + events(*(piece(f"{word} ") for word in text.split()), piece(None, "stop"), done=True)


async def _read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The body of a chat completion; None for any other request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    lengths = [line.partition(":")[2].strip() for line in head if line.startswith("content-length:")]
    body = await reader.readexactly(int(lengths[0]) if lengths else 0)
    call: dict[str, Any] | None = json.loads(body) if "/chat/completions" in head[0] else None
    return call


async def serve(names: Sequence[str], log: Log, latency: float) -> None:
    """Serve until SIGTERM."""
    upstreams = {name: Upstream(name, KINDS[name], log, latency) for name in names}
    upstreams[GOOD] = Upstream(GOOD, None, log, latency)

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = (await reader.readline()).decode().strip()
        await upstreams[name].repair()
        writer.write(f"{time.time() * 1000}\n".encode())
        await writer.drain()
        writer.close()

    for upstream in upstreams.values():
        await upstream.open()
    server = await asyncio.start_server(control, "127.0.0.1", 0)
    urls: dict[str, Any] = {name: f"http://127.0.0.1:{upstream.port}" for name, upstream in upstreams.items()}
    click.echo(json.dumps({**urls, "control": server.sockets[0].getsockname()[1]}))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)))
@click.option("--log", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--latency-ms", default=20.0, show_default=True, help="Of an answer of one that is well.")
def main(kinds: tuple[str, ...], log: Path, latency_ms: float) -> None:
    """Serve broken upstreams of these kinds, all without any, and one good one, on loopback."""
    with log.open("a") as file:
        asyncio.run(serve(kinds or tuple(KINDS), Log(file), latency_ms / 1000))


if __name__ == "__main__":
    main()
