"""A gate between a process and its Valkey: it lets everything through until a certain script is called, then holds it.

Whoever is behind it stands still at that very step, and can be killed there. Real sockets and a real server: nothing of
ours knows of it.
"""

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
    """Where a call is held: before the server has heard of it, or with its reply on the way back."""

    ASKED = "asked"
    DONE = "done"


@dataclass
class Gate:
    """A proxy on a unix socket of its own. `held` is set when somebody stands still in it."""

    server: Path
    own: Path
    held: asyncio.Event = field(default_factory=asyncio.Event)
    _script: bytes = b""
    _step: Step = Step.ASKED
    _word: bytes = b""

    @property
    def url(self) -> str:
        return f"unix://{self.own}"

    def close_at(self, script: str, step: Step, word: str = "") -> None:
        """Hold the next call of a script; one whose reply has this word in it, if it is held there."""
        self._script, self._step, self._word = scripts.load(script).function.encode(), step, word.encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        server_reader, server_writer = await asyncio.open_unix_connection(str(self.server))
        passage = _Passage(self, writer, server_writer)
        pumps = [asyncio.create_task(passage.ask(reader)), asyncio.create_task(passage.reply(server_reader))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for one in (writer, server_writer):
                one.close()

    def stops(self, command: list[bytes]) -> bool:
        """Whether this is the call to be held."""
        return bool(self._script) and command[0] == b"FCALL" and command[1] == self._script

    @property
    def asked(self) -> bool:
        return self._step is Step.ASKED

    async def hold(self) -> None:
        """Stand still until the connection ends."""
        self.held.set()
        await asyncio.Event().wait()

    def is_it(self, reply: bytes) -> bool:
        return self._word in reply


@dataclass
class _Passage:
    """The two directions of one connection. While a reply is awaited that may have to be held, none goes on."""

    gate: Gate
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    asked: int = 0
    replied: int = 0
    awaited: int = 0
    kept: bytes = b""

    async def ask(self, reader: asyncio.StreamReader) -> None:
        commands = hiredis.Reader()
        while data := await reader.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                stops = self.gate.stops(command)
                if stops and self.gate.asked:
                    await self.gate.hold()
                self.asked += 1
                if stops:
                    self.awaited = self.asked
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
            if self.awaited and self.gate.is_it(self.kept):
                await self.gate.hold()
            self.awaited = 0
            self.client.write(self.kept)
            self.kept = b""
            await self.client.drain()


@asynccontextmanager
async def gate(server: Path, own: Path) -> AsyncIterator[Gate]:
    """A gate that is open until it is told otherwise; its connections are gone when the block ends."""
    made = Gate(server, own)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            await made.serve(reader, writer)

    listening = await asyncio.start_unix_server(serve, str(own))
    try:
        yield made
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
