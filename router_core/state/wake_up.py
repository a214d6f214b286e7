"""Wakes an idle worker when one of its queues has a new job."""

from __future__ import annotations

from collections.abc import Sequence

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection

MAX_WAIT_SECONDS = 1.0
"""Seconds after which a waiting worker claims anyway: plain rq wakes no worker of ours."""


class WakeUp:
    """Waits until one of its queues has a new job. One entry wakes one worker; waiting takes no job."""

    def __init__(self, server: RedisServer | str, queues: Sequence[str]) -> None:
        self._link = RedisConnection(server)  # its own: a blocked connection can send nothing else
        self._keys = [keys.WAKEUP + queue for queue in queues]
        self._woken_by: bytes | None = None

    async def wait(self, timeout_seconds: float = MAX_WAIT_SECONDS) -> bool:
        """True: there is a new job. False: the timeout is over. Raises a `StoreError` when Redis is away."""
        reply = await self._link.command("BLPOP", *self._keys, max(0.01, min(timeout_seconds, MAX_WAIT_SECONDS)))
        self._woken_by = reply[0] if reply else None
        return reply is not None

    async def forward(self) -> None:
        """Wake another worker: this one has no free slot."""
        if self._woken_by is not None:
            await self._link.command("RPUSH", self._woken_by, "1")

    async def close(self) -> None:
        await self._link.close()
