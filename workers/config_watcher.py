"""From a configuration to what one worker does, and to what it does when the file has changed since."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from openfall import config
from openfall.router_core.catalog.errors import UnknownName
from openfall.workers.outbox.dispatcher import OutboxSettings
from openfall.workers.outbox.url_policy import UrlPolicy
from openfall.workers.process import WorkerConfig, identity
from openfall.workers.worker import WorkerSettings

log = logging.getLogger("openfall.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What was asked of a worker on its command line. `slots` None: as the configuration says."""

    pool: str
    backend: str | None = None
    slots: int | None = None
    burst: bool = False


def load_worker_config(loaded: config.LoadedConfig, wish: WorkerOptions) -> WorkerConfig:
    """What a worker of this configuration is to do. Raises `UnknownName`, `NothingToServe`, `config.NoRedis`."""
    settings = loaded.settings
    plan = WorkerConfig(
        redis_url=config.redis_url(settings),
        catalog=loaded.catalog,
        pool=wish.pool,
        terms=WorkerSettings(
            slots=wish.slots or settings.workers.slots, grace=settings.workers.shutdown_grace, burst=wish.burst
        ),
        spool=settings.data_dir / "spool",
        backend=wish.backend,
        keep_prompts=settings.privacy.keep_prompts,
        post=OutboxSettings(
            discord=settings.notify.discord,
            webhook=settings.notify.webhook,
            secret=settings.webhooks.secret,
            rate_limit=settings.notify.rate_limit,
            notify_recovery=settings.notify.on_recovery,
            url_policy=UrlPolicy(allow=settings.webhooks.allow, allow_private=settings.webhooks.private),
        ),
        memory_limit=settings.limits.max_memory,
    )
    identity(plan)
    return plan


@dataclass(slots=True)
class ConfigWatcher:
    """Follows one configuration file.

    What cannot be used is told once, with all that is wrong in it; what was in force before stays so.
    """

    loaded: config.LoadedConfig
    wish: WorkerOptions
    _seen: config.Stamp | None = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self.loaded.stamp

    def plan(self, on_ready: Callable[[], object]) -> WorkerConfig:
        """The plan of the configuration as it is, which asks for what the changed one comes to."""
        return replace(load_worker_config(self.loaded, self.wish), on_ready=on_ready, changed=self.changed)

    def changed(self) -> WorkerConfig | None:
        """The plan of the changed configuration; None: it has not changed, or cannot be used. Reads a file."""
        stamp = config.stamp(self.loaded.source)
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            loaded = config.load(self.loaded.source)
            plan = load_worker_config(loaded, self.wish)
        except (config.ConfigError, config.NoRedis, UnknownName, ValueError) as error:
            for line in str(error).splitlines():
                log.error("%s", line)
            log.error("%s has changed and cannot be used; what it said before stays in force", self.loaded.source)
            return None
        self.loaded = loaded
        return plan
