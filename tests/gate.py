"""A gate between a process and its Valkey: it passes everything until a certain script is called, then holds that call.

The process stands still at that step, and can be killed there. The sockets and the server are real, and the product
does not know of the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import hiredis

from openfall.router_core.state import scripts


class Step(Enum):
    """Where a call is held: before the server receives it, or with its reply on the way back."""

    BEFORE = "before"
    AFTER = "after"


@dataclass
class Gate:
    """A proxy on a unix socket of its own. `held` is set while a call is held."""

    server: Path
    own: Path
    held: asyncio.Event = field(default_factory=asyncio.Event)
    _script: bytes = b""
    _step: Step = Step.BEFORE
    _word: bytes = b""

    @property
    def url(self) -> str:
        return f"unix://{self.own}"

    def close_at(self, script: str, step: Step, word: str = "") -> None:
        """Hold the next call of a script; with `Step.AFTER` only one whose reply contains `word`."""
        self._script, self._step, self._word = scripts.load(script).function.encode(), step, word.encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        server_reader, server_writer = await asyncio.open_unix_connection(str(self.server))
        tunnel = _Tunnel(self, writer, server_writer)
        pumps = [asyncio.create_task(tunnel.ask(reader)), asyncio.create_task(tunnel.reply(server_reader))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.close()
            server_writer.close()

    def stops(self, command: list[bytes]) -> bool:
        """Whether this is the call to be held."""
        return bool(self._script) and command[0] == b"FCALL" and command[1] == self._script

    @property
    def holds_call(self) -> bool:
        return self._step is Step.BEFORE

    async def hold(self) -> None:
        """Hold until the connection ends."""
        self.held.set()
        await asyncio.Event().wait()

    def matches(self, reply: bytes) -> bool:
        return self._word in reply


@dataclass
class _Tunnel:
    """The two directions of one connection. While a reply that may be held is awaited, no reply is passed on."""

    gate: Gate
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    sent: int = 0
    replied: int = 0
    awaited: int = 0
    kept: bytes = b""

    async def ask(self, reader: asyncio.StreamReader) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                stops = self.gate.stops(command)
                if stops and self.gate.holds_call:
                    await self.gate.hold()
                self.sent += 1
                if stops:
                    self.awaited = self.sent
                self.server.write(hiredis.pack_command(tuple(command)))
            await self.server.drain()

    async def reply(self, reader: asyncio.StreamReader) -> None:
        replies = hiredis.Reader()
        while data := await reader.read(65536):
            replies.feed(data)
            while replies.gets() is not False:
                self.replied += 1
            self.kept += data
            if self.awaited > self.replied:
                continue
            if self.awaited and self.gate.matches(self.kept):
                await self.gate.hold()
            self.awaited = 0
            self.client.write(self.kept)
            self.kept = b""
            await self.client.drain()


@asynccontextmanager
async def gate(server: Path, own: Path) -> AsyncIterator[Gate]:
    """An open gate. Its connections end with the block."""
    proxy = Gate(server, own)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            await proxy.serve(reader, writer)

    listening = await asyncio.start_unix_server(serve, str(own))
    try:
        yield proxy
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
