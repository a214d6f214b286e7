"""`resolve_runtime_model` and `report_call`: module-level functions over a client that the process shares.

For programs that call models themselves:

    from openfall import NoModel, resolve_runtime_model

    failed: list[str] = []
    while True:
        try:
            model = resolve_runtime_model(role="ace", exclude=failed)
        except NoModel:                      # nothing can be called now: the queue waits for a model to come back
            llm.submit(messages, role="ace")
            break
        try:
            answer = my_client(model.url, model.api_key).complete(model.upstream, messages)
        except Exception as error:
            model.report(error=error)        # openfall's breakers count it: the whole fleet avoids a failing model
            failed.append(model.model)
            continue
        model.report(input_tokens=answer.usage.input, output_tokens=answer.usage.output)
        break

Only models of the catalog are named, so no call goes out for a model that does not exist. Without Redis the catalog
alone decides, and `report` returns False. `AsyncOpenfall` and `Openfall` have the same as `resolve` and `report`.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from openfall.config import LoadedConfig, NoRedis, load, redis_server
from openfall.config.config_watcher import ConfigWatcher
from openfall.producers.runtime_model import CallOutcome, ResolveOptions, RuntimeModel
from openfall.producers.sync_client import Openfall
from openfall.router_core.catalog.redis_server import RedisServer

log = logging.getLogger("openfall.runtime")

UNREACHABLE_REDIS = RedisServer(url="redis://127.0.0.1:1")
"""Stands for a Redis when the configuration names none and none runs."""


@dataclass(slots=True)
class DefaultClients:
    """One client for each configuration. Thread-safe.

    A client is replaced when its configuration file or the address of Redis changes. Callers that still use the old
    one may finish: it ends with their last reference.
    """

    _clients: dict[Path | None, tuple[Openfall, RedisServer]] = field(default_factory=dict)
    """With its Redis."""
    _watchers: dict[Path | None, ConfigWatcher[LoadedConfig]] = field(default_factory=dict)
    _locks: dict[int, threading.Lock] = field(default_factory=dict)
    """By process: a lock that another thread holds during a fork stays locked in the child for ever."""

    def client(self, config_path: Path | None) -> Openfall:
        """The client for a configuration file; None: the usual search applies. Raises `ConfigError`."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            config = self._current(config_path)
            client, known = self._clients.get(config_path, (None, None))
            server = _redis(config)
            if client is None or (client.config, known) != (config, server):
                client = Openfall(server, config=config)
                self._clients[config_path] = client, server
            return client

    def _current(self, config_path: Path | None) -> LoadedConfig:
        """The configuration of the current file; while it is invalid, the last valid one."""
        watcher = self._watchers.get(config_path)
        if watcher is None:
            watcher = ConfigWatcher(load(config_path), lambda changed: changed, log)
            self._watchers[config_path] = watcher
        watcher.reload_if_changed()
        return watcher.loaded


def _redis(config: LoadedConfig) -> RedisServer:
    try:
        return redis_server(config.settings)
    except NoRedis:
        return UNREACHABLE_REDIS


_DEFAULT = DefaultClients()


def resolve_runtime_model(
    role: str | None = None, *, config: Path | str | None = None, **options: Unpack[ResolveOptions]
) -> RuntimeModel:
    """The model to call now, with all that the call needs; see the module's docstring.

    Reads the configuration again when its file has changed. Raises `NoModel`, which lists the reason for each model,
    `UnknownName` for a name that is not in the catalog, and `ConfigError`.
    """
    return _DEFAULT.client(None if config is None else Path(config)).resolve(role, **options)


def report_call(model: RuntimeModel, **outcome: Unpack[CallOutcome]) -> bool:
    """The same as `model.report(...)`."""
    return model.report(**outcome)
