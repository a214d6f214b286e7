"""A way to Redis that can be cut: a unix socket before that of the server, for one worker."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

CHUNK_BYTES = 65536


@dataclass
class RedisPath:
    """Passes bytes on until it is cut; then it closes every connection and takes none until it is joined."""

    path: Path
    server: Path
    is_cut: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self) -> asyncio.Server:
        """Begin."""
        return await asyncio.start_unix_server(self._pass_on, str(self.path))

    def cut(self) -> None:
        """Close the way."""
        self.is_cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def restore(self) -> None:
        """Open it again."""
        self.is_cut = False

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_unix_connection(str(self.server))
        self._writers |= {writer, far_writer}
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the run ends
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()
