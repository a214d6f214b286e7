"""The memory of one process for the bodies of requests, from their first byte until their jobs are accepted."""

from __future__ import annotations

import asyncio

from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.state.jobs import LARGE_BODY_BYTES

MAX_BODY_BYTES = 64 * 2**20
"""Of all requests at once. The process needs about five times as much for them."""


class BodyMemory:
    """Counts the bytes of all bodies. When they are too many, large bodies are refused, to come again."""

    def __init__(self, most: int = MAX_BODY_BYTES) -> None:
        self._most, self._taken = most, 0
        self.turn = asyncio.Lock()
        """Large bodies are parsed one after another: each holds the interpreter for up to 0.1 s at a time."""

    def take(self, more: int, size: int) -> None:
        """Bytes of a body have arrived, which makes its size. Raises `Refusal`."""
        if self._taken + more > self._most and size > LARGE_BODY_BYTES:
            raise Refusal("busy", f"{self._taken:,} bytes of requests are being read: send the request again")
        self._taken += more

    def give_back(self, size: int) -> None:
        """A body is not held any more."""
        self._taken -= size
