"""The pieces of one answer on their way to whoever listens: coalesced, fenced, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson

COALESCE = 0.05
"""Seconds for which pieces are gathered into one event: as smooth as eyes ask for, at a twentieth of the writes."""

Emit = Callable[[list[bytes]], Awaitable[bool]]


class DeltaWriter:
    """Gathers pieces and emits them. `on_refused` is called when the delivery has lost its lease."""

    def __init__(self, emit: Emit, on_refused: Callable[[], object]) -> None:
        self._emit, self._on_refused = emit, on_refused
        self._gathered: list[str] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, text: str) -> None:
        """Take one piece. Never blocks."""
        self._gathered.append(text)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="deltas")

    async def finish(self) -> None:
        """Wait until everything added has been emitted, so that `done` comes after it."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._gathered:
            await asyncio.sleep(COALESCE)
            text, self._gathered = "".join(self._gathered), []
            if not await self._emit([orjson.dumps({"event": "delta", "text": text})]):
                self._on_refused()
                return
