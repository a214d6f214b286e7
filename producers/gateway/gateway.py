"""What one process of the gateway holds: a client of the queue, the settings, the keys, and the callers that wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from openfall.config import LoadedConfig
from openfall.config.config_watcher import RELOAD_INTERVAL_SECONDS
from openfall.config.gateway_settings import GatewaySection
from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.access import Access
from openfall.producers.gateway.batches.batch_takeover import BatchRunner
from openfall.producers.gateway.body_memory import BodyMemory
from openfall.producers.gateway.callers import Callers
from openfall.producers.gateway.config_reload import ConfigReload, UsableConfig
from openfall.producers.gateway.file_cleanup import keep_files_tidy
from openfall.producers.gateway.file_directory import FileDirectory
from openfall.producers.gateway.key_limits import Concurrency, KeyLimits
from openfall.producers.gateway.refusal_counts import RefusalCounts
from openfall.producers.page.live_page import LivePage
from openfall.producers.page.shared_readings import SharedReadings
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.client_keys import EMPTY, KeyRing, fetch_keys
from openfall.router_core.state.errors import StoreError

log = logging.getLogger("openfall.gateway")

KEYS_TTL_SECONDS = 2.0
"""After this a new key is known, and a revoked one refused, by every process of every gateway."""


@dataclass(slots=True)
class Gateway:
    """One process of the gateway. It holds nothing that another process needs: jobs and keys are in Redis."""

    client: AsyncOpenfall
    callers: Callers
    directory: FileDirectory
    keys: KeyRing = EMPTY
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """The gateway stops: it sends waiting callers a response that asks them to try again."""
    body_memory: BodyMemory = field(default_factory=BodyMemory)
    limits: KeyLimits = field(default_factory=KeyLimits)
    refusals: RefusalCounts = field(default_factory=RefusalCounts, repr=False)
    uploads: Concurrency = field(default_factory=Concurrency)
    batch_runner: BatchRunner = field(init=False, repr=False)
    live_page: LivePage | None = None
    """The reader of the operator's page, once a page was opened."""
    shared_readings: SharedReadings = field(default_factory=SharedReadings, repr=False)
    reload_interval_seconds: float = RELOAD_INTERVAL_SECONDS
    """How often it looks whether the files of its configuration have changed."""
    on_load: Callable[[LoadedConfig], None] = lambda _: None
    """Called with each changed configuration that is valid."""
    _tasks: tuple[asyncio.Task[None], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self.batch_runner = BatchRunner(self)

    @classmethod
    def of(cls, client: AsyncOpenfall, on_load: Callable[[LoadedConfig], None] = lambda _: None) -> Gateway:
        settings = client.config.settings
        files = Path(settings.gateway.files) if settings.gateway.files else settings.data_dir / "files"
        callers = Callers(client.store.connection, client.store.events, catalog_digest(client.config.catalog))
        return cls(client, callers, FileDirectory(files), on_load=on_load)

    @property
    def config(self) -> LoadedConfig:
        return self.client.config

    @property
    def settings(self) -> GatewaySection:
        return self.client.config.settings.gateway

    @property
    def access(self) -> Access:
        return Access(self.settings, self.keys)

    def use_config(self, changed: UsableConfig) -> None:
        """Use a changed configuration for every later request. A request in flight keeps its own, and a batch that runs
        keeps that of its runner."""
        self.client = copy(self.client)  # requests in flight have the other one; both have the same connections
        self.client.config = changed.loaded
        self.client.store.use_catalog(changed.loaded.catalog)
        self.callers.catalog = changed.digest
        self.shared_readings.forget()
        if self.live_page is not None:
            self.live_page.use_config(changed.loaded.catalog, self.settings.root_path)

    async def start(self) -> None:
        """Read the keys, and keep them fresh. While Redis does not answer, the last known ones stay in force.

        Raises `StoreError` when Redis does not answer at the start: without the keys no caller can be checked.
        """
        self.keys = await fetch_keys(self.client.store.connection)
        self.client.store.keep_fleet_fresh()
        await self.callers.start()
        self._tasks = (
            asyncio.create_task(self._exchange_keys(), name="client-keys"),
            asyncio.create_task(keep_files_tidy(self.client.store.connection, self.directory), name="file-upkeep"),
            asyncio.create_task(self.batch_runner.run(), name="runner"),
            asyncio.create_task(ConfigReload(self).run(), name="config"),
        )
        for task in self._tasks:
            task.add_done_callback(_log_failure)

    async def stop(self) -> None:
        await cancel_all(*self._tasks)
        if self.live_page is not None:
            await self.live_page.close()
        await self.callers.stop()
        with contextlib.suppress(StoreError):
            await self.refusals.write(self.client.store.connection)
        await self.client.close()

    async def _exchange_keys(self) -> None:
        """Read the keys, and write what was refused to each."""
        while True:
            await asyncio.sleep(KEYS_TTL_SECONDS)
            with contextlib.suppress(StoreError):
                self.keys = await fetch_keys(self.client.store.connection)
                await self.refusals.write(self.client.store.connection)


def _log_failure(task: asyncio.Task[None]) -> None:
    """Requests are served without the task, but its failure must not stay unknown."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the task %s of the gateway has ended: restart the gateway", task.get_name(), exc_info=error)
