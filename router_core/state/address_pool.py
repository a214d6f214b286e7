"""Connections to Redis at an address that may move to another server."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any, ClassVar
from weakref import WeakSet

import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection

LEAVE_INTERVAL_SECONDS = 5.0
"""How often connections leave a server that takes no writes: its address may still lead to it."""


class AddressPool(aioredis.ConnectionPool):
    """Connections to an address. A name, or an address that moves, may lead to another server than before, while
    connections to the one before stay open. When a server has refused a write and this pool connects again, every
    connection of this event loop to the address is made again: a subscription would hear nothing, and a reader would
    read what is out of date."""

    _pools: ClassVar[WeakSet[AddressPool]] = WeakSet()
    _locks: ClassVar[dict[int, threading.Lock]] = {}
    """By process: a lock that another thread holds during a fork stays locked in the child for ever."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_refused = False
        self._leaves_at = float("-inf")
        """When the connections leave, or left last, on the monotonic clock."""
        with self._pools_lock():
            self._pools.add(self)

    def note_refusal(self) -> None:
        """A server of this pool takes no writes any more."""
        self._is_refused = True

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        if self._is_refused:
            self._is_refused = False
            self._leave_in_time()
        await super().ensure_connection(connection)

    def _leave_in_time(self) -> None:
        """Leave now, or once `LEAVE_INTERVAL_SECONDS` have passed since the last time: the address may lead to the next
        server in between, and no further refusal would tell."""
        now = time.monotonic()
        if self._leaves_at > now:
            return
        pause = max(0.0, self._leaves_at + LEAVE_INTERVAL_SECONDS - now)
        self._leaves_at = now + pause
        if pause:
            asyncio.get_running_loop().call_later(pause, self._leave_server)
        else:
            self._leave_server()

    def _leave_server(self) -> None:
        with self._pools_lock():
            pools = [pool for pool in self._pools if pool.address == self.address]
        for pool in pools:
            pool._leave()  # noqa: SLF001 - of the same class

    @classmethod
    def _pools_lock(cls) -> threading.Lock:
        return cls._locks.setdefault(os.getpid(), threading.Lock())

    @property
    def address(self) -> tuple[Any, ...]:
        return tuple(self.connection_kwargs.get(name) for name in ("host", "port", "path"))

    def _leave(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in (*self._available_connections, *self._in_use_connections):
            if getattr(connection._writer, "_loop", None) is loop:  # noqa: SLF001 - redis-py has no other way
                connection.leave()  # type: ignore[attr-defined]  # see redis_pool.py
