"""Derives a worker's configuration from the file, and reloads it when the file changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from openfall import config
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.workers.outbox.outbox_settings import OutboxSettings
from openfall.workers.outbox.webhook_url_check import UrlPolicy
from openfall.workers.service_manager import ServiceManager
from openfall.workers.worker import WorkerSettings
from openfall.workers.worker_config import WorkerConfig, identify

log = logging.getLogger("openfall.worker")

RELOAD_INTERVAL_SECONDS = 2.0
"""How often a worker looks whether its file has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The command line of a worker. `slots` None: the number in the configuration."""

    pool: str
    backend: str | None = None
    slots: int | None = None
    burst: bool = False


def load_worker_config(loaded: config.LoadedConfig, options: WorkerOptions) -> WorkerConfig:
    """The configuration of one worker. Raises `UnknownName`, `NothingToServe`, `config.NoRedis`."""
    settings = loaded.settings
    worker_config = WorkerConfig(
        redis=config.redis_server(settings),
        catalog=loaded.catalog,
        pool=options.pool,
        settings=WorkerSettings(
            slots=options.slots or settings.workers.slots,
            grace_seconds=settings.workers.shutdown_grace,
            burst=options.burst,
        ),
        spool=settings.data_dir / "spool",
        backend=options.backend,
        keep_prompts=settings.privacy.keep_prompts,
        outbox=OutboxSettings(
            discord=settings.notify.discord,
            webhook=settings.notify.webhook,
            secret=settings.webhooks.secret,
            rate_limit=settings.notify.rate_limit,
            notify_recovery=settings.notify.on_recovery,
            url_policy=UrlPolicy(allow=settings.webhooks.allow, allow_private=settings.webhooks.private),
        ),
        server_terms=settings.server_terms,
    )
    identify(worker_config)
    return worker_config


@dataclass(slots=True)
class ConfigWatcher:
    """Watches one configuration file. It reports an invalid file once, with every problem, and keeps the last valid
    configuration."""

    loaded: config.LoadedConfig
    options: WorkerOptions
    on_load: Callable[[config.LoadedConfig], None] = lambda _: None
    """Called with each changed configuration that is valid."""
    _last_stamp: config.Stamp | None = field(init=False)

    def __post_init__(self) -> None:
        self._last_stamp = self.loaded.stamp

    def worker_config(self, manager: ServiceManager) -> WorkerConfig:
        """The current configuration, which reloads itself through this watcher."""
        current = load_worker_config(self.loaded, self.options)
        return replace(current, manager=manager, reload=self.reload_if_changed)

    def reload_if_changed(self) -> WorkerConfig | None:
        """The configuration of the changed file; None if it has not changed, or is invalid. Reads a file."""
        stamp = config.stamp(self.loaded.source)
        if stamp == self._last_stamp:
            return None
        self._last_stamp = stamp
        try:
            loaded = config.load(self.loaded.source)
            worker_config = load_worker_config(loaded, self.options)
        except (config.ConfigError, config.NoRedis, UnknownName, ValueError) as error:
            for line in str(error).splitlines():
                log.error("%s", line)
            log.error("%s is invalid after a change; the previous configuration stays in force", self.loaded.source)
            return None
        self.loaded = loaded
        self.on_load(loaded)
        return worker_config
