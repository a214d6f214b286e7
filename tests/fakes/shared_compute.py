"""The compute of a card: models with calls in flight share it evenly; calls of one model do not slow each other."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter


class SharedCompute:
    """Calls of models that run at once take as much longer as there are models with calls."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._virtual = self._advanced_at = 0.0
        self._ends: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, model: str, seconds: float) -> None:
        """A call that takes `seconds` when its model has the card alone."""
        self._advance()
        self._running[model] += 1
        self._number += 1
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._ends, (self._virtual + seconds, self._number, end))
        self._schedule()
        try:
            await end
        finally:
            self._advance()
            self._running[model] -= 1
            self._running += Counter()
            self._schedule()

    def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._running:
            self._virtual += (now - self._advanced_at) / len(self._running)
        self._advanced_at = now

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        while self._ends and self._ends[0][2].done():
            heapq.heappop(self._ends)
        if self._ends:
            seconds = max(0.0, self._ends[0][0] - self._virtual) * max(1, len(self._running))
            self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        self._advance()
        while self._ends and (self._ends[0][2].done() or self._ends[0][0] <= self._virtual + 1e-6):
            end = heapq.heappop(self._ends)[2]
            if not end.done():
                end.set_result(None)
        self._schedule()
