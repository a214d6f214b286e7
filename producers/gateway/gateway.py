"""What one process of the door holds: a client of the queue, the settings, the keys, and who waits."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

from openfall.config import LoadedConfig
from openfall.config.gateway_settings import GatewaySection
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.access import Access
from openfall.producers.gateway.callers import Callers
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.client_keys import EMPTY, KeyRing, fetch_keys
from openfall.router_core.state.errors import StoreError

KEYS_TTL_SECONDS = 2.0
"""After this a new key is known, and a revoked one refused, by every process of every door."""


@dataclass(slots=True)
class Gateway:
    """One process of the door. It holds nothing that another process needs: jobs and keys are in Redis."""

    client: AsyncOpenfall
    callers: Callers
    keys: KeyRing = EMPTY
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Callers who wait are sent away, to come again."""
    _refresh: asyncio.Task[None] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, client: AsyncOpenfall) -> Gateway:
        return cls(client, Callers(client.store.connection))

    @property
    def config(self) -> LoadedConfig:
        return self.client.config

    @property
    def settings(self) -> GatewaySection:
        return self.client.config.settings.gateway

    @property
    def access(self) -> Access:
        return Access(self.settings, self.keys)

    async def start(self) -> None:
        """Read the keys, and keep them fresh. While Redis does not answer, the last known ones stay in force.

        Raises `StoreError` when Redis does not answer at the start: without the keys no caller can be checked.
        """
        self.keys = await fetch_keys(self.client.store.connection)
        self.client.store.keep_fleet_fresh()
        await self.callers.start()
        self._refresh = asyncio.create_task(self._refresh_keys(), name="client-keys")

    async def stop(self) -> None:
        await cancel_all(self._refresh)
        await self.callers.stop()
        await self.client.close()

    async def _refresh_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_TTL_SECONDS)
            with contextlib.suppress(StoreError):
                self.keys = await fetch_keys(self.client.store.connection)
