"""The configuration of one worker, and what it subscribes to: its identity and its queues."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_digest import catalog_digest
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.redis_preconditions import ServerTerms
from openfall.router_core.state.keys import DEGRADE
from openfall.router_core.state.worker_subscription import (
    BackendCapacity,
    QueueSubscription,
    WorkerIdentity,
    backends_for,
)
from openfall.router_core.vocabulary import Urgency
from openfall.workers.backends import health_check
from openfall.workers.log_place import log_place
from openfall.workers.outbox.outbox_settings import OutboxSettings
from openfall.workers.service_manager import ServiceManager
from openfall.workers.worker import WorkerSettings

MAX_CONCURRENT_DECISIONS = 64
"""Fallen jobs that all degrade workers together decide about at a time. A decision takes about a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The configuration of one worker. `backend` limits it to one backend of its pool; `outbox` is for the degrade
    worker."""

    redis: RedisServer
    catalog: Catalog
    pool: str
    settings: WorkerSettings
    spool: Path
    backend: str | None = None
    keep_prompts: bool = False
    server_terms: ServerTerms = field(default_factory=ServerTerms)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    manager: ServiceManager = field(default_factory=ServiceManager)
    """Learns when the worker is registered and about to make its first claim, that it turns, and that it stops."""
    reload: Callable[[], WorkerConfig | None] | None = None
    """Called every `RELOAD_INTERVAL_SECONDS` in a thread. Returns the new configuration after a change, else None."""


class NothingToServe(ValueError):
    """The pool has no model that this worker could serve."""


def identify(config: WorkerConfig) -> tuple[WorkerIdentity, tuple[QueueSubscription, ...]]:
    """The worker's identity and the queues that it drains: the most urgent first, models in the catalog's order.

    Raises `UnknownName` for the pool, `NothingToServe` when no model of it is at the worker's backends.
    """
    queues = tuple(_subscribe_models(config)) if config.pool != DEGRADE else (_subscribe_degrade(config),)
    if not queues:
        at = f" at backend {config.backend!r}" if config.backend else ""
        raise NothingToServe(f"pool {config.pool!r} has no model{at}: add one under `models:` whose backend is in it")
    backends = tuple(dict.fromkeys(capacity.name for queue in queues for capacity in queue.backends))
    host = socket.gethostname()
    name = f"of-{config.pool}-{host[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
    # The degrade worker calls no model, so nothing leaves the local pools through it.
    local = config.pool == DEGRADE or config.catalog.pools[config.pool].local
    names, digest = tuple(queue.queue for queue in queues), catalog_digest(config.catalog)
    log = log_place(os.environ, host)
    return WorkerIdentity(name, config.pool, names, backends, local=local, catalog=digest, log=log), queues


def _subscribe_degrade(config: WorkerConfig) -> QueueSubscription:
    """The queue of fallen jobs. Its capacity belongs to no backend: it limits concurrent decisions."""
    if config.backend is not None:
        raise NothingToServe(f"`work {DEGRADE}` calls no backend: omit --backend {config.backend}")
    return QueueSubscription(DEGRADE, (BackendCapacity(DEGRADE, MAX_CONCURRENT_DECISIONS),))


def _subscribe_models(config: WorkerConfig) -> Iterator[QueueSubscription]:
    catalog = config.catalog
    models = catalog.models_of(config.pool)
    for urgency in Urgency:
        for alias in models:
            backends = tuple(backends_for(catalog, alias, config.backend))
            if backends:
                probe_timeout = health_check.probe_timeout(catalog.models[alias])
                min_share = catalog.urgency[urgency].min_share
                yield QueueSubscription(catalog.queue(alias, urgency), backends, probe_timeout, min_share)
