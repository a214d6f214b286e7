"""What several visitors of the page read: once for all of them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class SharedReadings:
    """Values by name. `clock` is monotonic."""

    clock: Callable[[], float] = time.monotonic
    _values: dict[str, tuple[float, Any]] = field(default_factory=dict)
    _running: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def forget(self) -> None:
        """Read everything again: something was done."""
        self._values.clear()

    async def fetch(self, name: str, max_age_seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        """The value of a name. It is read again when it is older; meanwhile other visitors wait for that reading."""
        async with self._running[name]:
            if name not in self._values or self.clock() - self._values[name][0] > max_age_seconds:
                value = await read()
                self._values[name] = (self.clock(), value)
            shared: T = self._values[name][1]
            return shared
