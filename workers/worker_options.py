"""The command line of a worker, and the configuration that follows from it and from the file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from openfall import config
from openfall.config.config_watcher import ConfigWatcher
from openfall.workers.outbox.outbox_settings import OutboxSettings
from openfall.workers.outbox.webhook_url_check import UrlPolicy
from openfall.workers.service_manager import ServiceManager
from openfall.workers.worker import WorkerSettings
from openfall.workers.worker_config import WorkerConfig, identify

log = logging.getLogger("openfall.worker")


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


def watch_worker_config(
    loaded: config.LoadedConfig,
    options: WorkerOptions,
    manager: ServiceManager,
    on_load: Callable[[config.LoadedConfig], None] = lambda _: None,
) -> WorkerConfig:
    """The configuration of one worker, which reloads itself. `on_load` is called with each valid change. Raises as
    `load_worker_config`."""

    def derive(changed: config.LoadedConfig) -> WorkerConfig:
        worker_config = load_worker_config(changed, options)
        on_load(changed)
        return worker_config

    watcher = ConfigWatcher(loaded, derive, log)
    return replace(load_worker_config(loaded, options), manager=manager, reload=watcher.reload_if_changed)
