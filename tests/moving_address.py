"""An address that leads from one server to another, as a name or a virtual address does: connections stay where they
are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class MovingAddress:
    """The address of the server behind `socket`. New connections follow it to another."""

    socket: Path
    url: str = ""


@contextlib.asynccontextmanager
async def moving_address(socket: Path) -> AsyncIterator[MovingAddress]:
    """An address that first leads to the server of this socket."""
    address = MovingAddress(socket)
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = await asyncio.open_unix_connection(str(address.socket))
        writers.extend((outward, writer))
        tasks.update(asyncio.create_task(pump(*ends)) for ends in ((reader, outward), (inward, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield address
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*tasks, return_exceptions=True)
