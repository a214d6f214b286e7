"""Sends the pieces of a streamed answer to its listeners: batched, fenced by the lease, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson

BATCH_SECONDS = 0.05
"""How long pieces are gathered for one event: smooth for a reader, with a twentieth of the writes."""

Emit = Callable[[list[bytes]], Awaitable[bool]]


class DeltaWriter:
    """Gathers pieces and emits them. It calls `on_lease_lost` when Redis refuses them: the delivery lost its lease."""

    def __init__(self, emit: Emit, on_lease_lost: Callable[[], object]) -> None:
        self._emit, self._on_lease_lost = emit, on_lease_lost
        self._pieces: list[str] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, text: str) -> None:
        """Add one piece. Never blocks."""
        self._pieces.append(text)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="deltas")

    async def finish(self) -> None:
        """Wait until every piece is emitted, so that `done` comes after them."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._pieces:
            await asyncio.sleep(BATCH_SECONDS)
            text, self._pieces = "".join(self._pieces), []
            if not await self._emit([orjson.dumps({"event": "delta", "text": text})]):
                self._on_lease_lost()
                return
