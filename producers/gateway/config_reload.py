"""Follows the configuration of a running gateway: a valid change is in force within seconds, without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openfall.config import LoadedConfig
from openfall.config.config_watcher import ConfigWatcher
from openfall.producers.gateway.access import refuse_exposed
from openfall.router_core.catalog.catalog_digest import catalog_digest

if TYPE_CHECKING:
    from openfall.producers.gateway.gateway import Gateway

log = logging.getLogger("openfall.gateway")

_FIXED = ("listen", "processes", "files")
"""Of the section `gateway`: what a process has from its start to its end."""


@dataclass(frozen=True, slots=True)
class UsableConfig:
    """A configuration that a gateway can use, and the digest of its catalog."""

    loaded: LoadedConfig
    digest: str


class ConfigReload:
    """Looks for changes of the files of one gateway, and applies them. They are read and checked in a thread."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self._started = gateway, gateway.config
        self._watcher = ConfigWatcher(gateway.config, self._check_usable, log)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._gateway.reload_interval_seconds)
            await self.apply_change()

    async def apply_change(self) -> bool:
        """Use a changed configuration. False: it has not changed, or is invalid."""
        changed = await asyncio.to_thread(self._watcher.reload_if_changed)
        if changed is None:
            return False
        self._gateway.use_config(changed)
        log.info("the changed configuration is in force")
        if fixed := ", ".join(_list_fixed(self._started, changed.loaded)):
            log.warning("the gateway keeps %s as at its start: restart it for a change of that", fixed)
        return True

    def _check_usable(self, loaded: LoadedConfig) -> UsableConfig:
        """Raises `ConfigError`, and `ValueError` for one that would serve other machines without keys."""
        loaded.require_models()
        listen = self._started.settings.gateway.listen
        if why := refuse_exposed(loaded.settings.gateway.model_copy(update={"listen": listen}), self._gateway.keys):
            raise ValueError(why)
        self._gateway.on_load(loaded)
        return UsableConfig(loaded, catalog_digest(loaded.catalog))


def _list_fixed(started: LoadedConfig, changed: LoadedConfig) -> Iterator[str]:
    """The changed settings that a running gateway keeps as they were."""
    before, after = started.settings, changed.settings
    for name in _FIXED:
        if getattr(before.gateway, name) != getattr(after.gateway, name):
            yield f"gateway.{name}"
    if before.redis != after.redis:
        yield "redis"
    if before.data_dir != after.data_dir:
        yield "data"
