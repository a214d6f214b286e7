"""Writes the pieces of a streamed answer to the events of its job: gathered, fenced by the lease, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from openfall.router_core.jobs.stream_pieces import Piece, gather, pack_events
from openfall.router_core.state.errors import StoreError

GATHER_SECONDS = 0.05
"""How long pieces are gathered after a write: smooth for a reader, with a twentieth of the writes. The first piece, and
one after a pause, is written at once."""

MAX_KEPT_PIECES = 256
"""When as many are kept for a follower, their texts are joined."""

Emit = Callable[[list[bytes], int], Awaitable[int | None]]
"""Writes events, as the batch of a number: a batch that has been written before is not written again, nor one after a
gap. The number of the last batch that Redis has; None: the delivery has lost its lease. Raises `StoreError`."""


class PieceWriter:
    """Gathers pieces and emits them. It calls `on_lease_lost` when Redis refuses them: the delivery lost its lease.

    While Redis does not answer, it keeps the pieces and tries again. It writes again what a failover of Redis has lost.
    So a reader never has a hole in an answer. Not `is_open`: no reader follows the job yet, and the pieces are kept
    until `open`.
    """

    def __init__(self, emit: Emit, on_lease_lost: Callable[[], object], *, is_open: bool = True) -> None:
        self._emit, self._on_lease_lost, self._is_open = emit, on_lease_lost, is_open
        self._pieces: list[Piece] = []
        self._batches: list[list[bytes]] = []
        """All of this delivery."""
        self._written = 0
        """How many of them Redis has."""
        self._writing: asyncio.Task[None] | None = None
        self._finished = asyncio.Event()

    def add(self, pieces: Sequence[Piece]) -> None:
        """Add some pieces. Never blocks."""
        self._pieces += pieces
        if self._is_open:
            self._start()
        elif len(self._pieces) > MAX_KEPT_PIECES:
            self._pieces = gather(self._pieces)

    def open(self) -> None:
        """Emit what there is, and all that follows."""
        self._is_open = True
        self._start()

    def _start(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="pieces")

    async def finish(self) -> None:
        """Emit the rest at once and wait for it, so that `done` comes after every piece."""
        self._finished.set()
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._pieces or self._written < len(self._batches):
            if self._written == len(self._batches):
                self._batches.append(pack_events(self._pieces))
                self._pieces = []
            is_last = self._finished.is_set()
            try:
                known = await self._emit(self._batches[self._written], self._written + 1)
                if known is None:
                    self._on_lease_lost()
                    return
                self._written = min(known, len(self._batches))
            except StoreError:
                if is_last:
                    return  # a reader misses the end; the result has it
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._finished.wait()
