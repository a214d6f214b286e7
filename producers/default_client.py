"""The client that the module-level functions share: one for each configuration, made when it is first needed."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from openfall.config import (
    ConfigError,
    LoadedConfig,
    NoRedis,
    Stamp,
    load,
    redis_url,
    stamp,
)
from openfall.producers.sync_client import Openfall

log = logging.getLogger("openfall.runtime")

NOWHERE = "redis://127.0.0.1:1"
"""Where no Redis is: stands for one when the configuration names none and none runs."""


@dataclass(slots=True)
class DefaultClient:
    """Thread-safe. A client is replaced when its configuration's file has changed, or Redis has come to be somewhere
    else; whoever still uses the one before can go on: it ends with the process."""

    _clients: dict[Path | None, Openfall] = field(default_factory=dict)
    _broken: dict[Path, Stamp | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def openfall(self, config: Path | None) -> Openfall:
        """The client for a configuration; None: the one that is found. Raises `ConfigError`."""
        with self._lock:
            client = self._clients.get(config)
            loaded = load(config) if client is None else self._current(client.loaded)
            place = _place(loaded)
            if client is None or (client.loaded, client.redis_url) != (loaded, place):
                client = self._clients[config] = Openfall(place, config=loaded)
            return client

    def _current(self, loaded: LoadedConfig) -> LoadedConfig:
        """The configuration as its file is now; as it was, when that is broken: whoever edits it is told once."""
        seen = stamp(loaded.source)
        if seen in (loaded.stamp, self._broken.get(loaded.source)):
            return loaded
        try:
            return load(loaded.source)
        except ConfigError as error:
            self._broken[loaded.source] = seen
            log.warning("the changed configuration cannot be used, the one before stays in force: %s", error)
            return loaded


def _place(loaded: LoadedConfig) -> str:
    try:
        return redis_url(loaded.settings)
    except NoRedis:
        return NOWHERE


SHARED = DefaultClient()
